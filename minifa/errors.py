"""Exceptions of files and downloads, which several packages raise. Every other exception is defined in the module that
raises it."""

__all__ = ["DataFileError", "DataNotFound", "DownloadError"]


class DataFileError(ValueError):
    """A data file exists but is invalid; the message names the file."""


class DataNotFound(FileNotFoundError):
    """A data file is missing; the message lists the folders searched and the expected file names."""


class DownloadError(OSError):
    """A data set could not be downloaded; the message gives each mirror's error and the kept bytes."""
