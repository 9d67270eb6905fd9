//! Golden files, architecture and end-to-end checks live in this package`s `tests/` folder.
