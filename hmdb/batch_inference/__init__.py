"""A million videos: sources -> Ray Data -> Parquet, each video exactly once.

    sources.py      what is to be answered: paths and URLs, and how a URL becomes a file
    job.py          what the answers depend on; its fingerprint keeps two jobs out of one folder
    stages.py       the two actors: one decodes, one answers
    output.py       the folder of Parquet parts; the only place that says what is done
    engine.py       the two actors on Ray Data
    run.py          all of it: what is missing goes through the engine, and into parts
    annotations.py  the parts as what FiftyOne and Label Studio import

Needs the extra `batch`: ray[data], pyarrow and fsspec.
"""
