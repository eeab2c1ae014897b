"""The confined decoding process, run as `python -m hmdb.video.worker`. Only these modules import PyAV or decord, and
nothing outside this folder imports them.

    __main__.py       answers requests
    sandbox.py        drops the rights that a decoder does not need
    scan.py           scans a file, and chooses its decoder
    packet_index.py   timestamps and key frames of a stream
    mp4_index.py      composition offsets from the index of an mp4
    demux.py          opens containers, reads packets
    decoders.py       the interface of a decoder
    decord_reader.py  decord
    pyav_reader.py    PyAV
"""
