"""Messages of a bag, by the reader of the `mcap` package."""

from pathlib import Path

from mcap.reader import make_reader


def messages(bag):
    """Topic and bytes of each message, in the order of the file's index."""
    [path] = Path(bag).glob("*.mcap")
    with open(path, "rb") as file:
        for _, channel, message in make_reader(file).iter_messages():
            yield channel.topic, message.data


def stamped(bag):
    """Topic and whole message, with its stamps, in the same order."""
    [path] = Path(bag).glob("*.mcap")
    with open(path, "rb") as file:
        for _, channel, message in make_reader(file).iter_messages():
            yield channel.topic, message
