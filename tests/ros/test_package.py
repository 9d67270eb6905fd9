"""The package as CMake installs it: found by the ament index after its own setup file, with all that launch needs."""

import os
import subprocess

import yaml

from conftest import BIN, ROOT


def test_the_installed_package_is_found_where_its_setup_file_says(tmp_path):
    build, prefix = tmp_path / "build", tmp_path / "install"
    # The programs are those that are tested: nothing is built here.
    configure = ["cmake", "-S", ROOT, "-B", build, f"-DCMAKE_INSTALL_PREFIX={prefix}", f"-Dtarget_dir={BIN.resolve().parent}"]
    for command in (configure, ["cmake", "--install", build]):
        ended = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    # What colcon's setup.bash does with a package.
    ask = "from ament_index_python import get_package_share_directory as share; print(share('pixio'))"
    script = f'export AMENT_CURRENT_PREFIX={prefix}; source {prefix}/share/pixio/local_setup.bash; which pixio; python -c "{ask}"'
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=os.environ)
    assert said.stdout.split() == [str(prefix / "bin/pixio"), str(prefix / "share/pixio")], said.stdout + said.stderr
    share = prefix / "share/pixio"
    assert {"package.xml", "LICENSE", "launch", "cameras", "urdf"} <= {path.name for path in share.iterdir()}
    assert len(list(share.glob("launch/**/*.launch.*"))) == len(list((ROOT / "launch").glob("**/*.launch.*"))) > 10
    assert yaml.safe_load((share / "launch/config/perception.yaml").read_text())
    assert os.access(prefix / "lib/pixio/perception_node", os.X_OK)
