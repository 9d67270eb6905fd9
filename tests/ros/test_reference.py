"""docs/reference.md against what the nodes say of themselves."""

import sys

from conftest import BIN, ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import reference  # noqa: E402


def test_the_reference_page_is_what_the_nodes_declare():
    written = (ROOT / "docs/reference.md").read_text()
    assert written == reference.page(BIN), "run `make reference`"


def test_every_installed_node_is_on_the_page():
    installed = (ROOT / "CMakeLists.txt").read_text()
    for name in reference.nodes(BIN):
        assert f"release/{name}\"" in installed, f"CMakeLists.txt does not install {name}"
