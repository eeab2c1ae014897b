"""A million videos: sources -> Ray Data -> Parquet, each video exactly once.

    sources.py      what is to be answered: paths and URLs
    urls.py         what a URL is called where its secrets must not be
    fetch.py        how a URL becomes a file
    job.py          what the answers depend on; its fingerprint keeps two jobs out of one folder
    stages.py       the actors: one decodes, one answers, one does both
    output.py       the folder of Parquet parts; the only place that says what is done
    engine.py       the actors on Ray Data
    run.py          all of it: what is missing goes through the engine, and into parts
    annotations.py  the parts as what FiftyOne and Label Studio import

Needs the extra `batch`: ray[data], pyarrow and fsspec.
"""
