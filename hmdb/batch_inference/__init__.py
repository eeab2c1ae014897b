"""Batch inference: sources -> Ray Data -> Parquet, each video exactly once.

    run.py                `batch`: videos without a row go through the pipeline and into parts
    sources.py            files, folders, globs, tables and URLs -> videos
    urls.py               keys of URLs, with credentials removed
    download.py           URLs -> temporary files
    job.py                model and settings; their fingerprint keeps two jobs out of one folder
    actors.py             the actors: one decodes, one classifies, one does both
    ray_pipeline.py       the actors on Ray Data
    existing_rows.py      rows of earlier runs: skip, retry failed, retry changed
    part_writer.py        rows -> parts of equal size
    parquet_store.py      the folder of parts, the only record of finished work
    signal_guard.py       SIGTERM and Ctrl-C interrupt the wait for rows, not the writing
    annotation_export.py  parts -> files for FiftyOne and Label Studio

Needs the extra `batch`: ray[data], pyarrow and fsspec.
"""
