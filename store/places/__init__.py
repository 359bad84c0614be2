"""Where records and tables live: a folder, or a bucket of S3."""
