"""A run: what was asked, found and answered, as a folder of Parquet files and a manifest.

``rows`` says what the columns mean, ``manifest`` what the manifest holds, ``writer`` how a run survives a kill,
``reader`` how it is read; ``from_events`` makes rows of what is in the topics.
"""
