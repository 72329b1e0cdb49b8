"""Builds the wheel of nnl for pip (PEP 517): CMake compiles the library and the module, which then are packed.

It needs nothing but Python itself, so `pip install .` downloads nothing to build with. pybind11 is asked for from the
index only where the system has none. The build folder, build-wheel-*/, is kept: a second `pip install .` compiles only
what changed.
"""

import base64
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def _project():
    """Name, version and the lines of METADATA, from pyproject.toml and CMakeLists.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cmake = (ROOT / "CMakeLists.txt").read_text()
    version = re.search(r"project\(nnlc VERSION ([0-9.]+)", cmake).group(1)
    metadata = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {version}",
                f"Summary: {project['description']}", f"Requires-Python: {project['requires-python']}"]  # fmt: skip
    metadata += [f"Requires-Dist: {d}" for d in project["dependencies"]]
    return project["name"], version, "\n".join(metadata) + "\n"


def _has_pybind11():
    return any(pathlib.Path(p, "pybind11", "pybind11.h").exists() for p in ("/usr/include", "/usr/local/include"))


def get_requires_for_build_wheel(config_settings=None):
    return [] if _has_pybind11() else ["pybind11>=2.10"]


def get_requires_for_build_sdist(config_settings=None):
    return []


def _run(*command, **options):
    print("+", *command, flush=True)
    try:
        subprocess.run(command, check=True, **options)
    except FileNotFoundError:
        sys.exit(f"nnl: {command[0]} is missing; see docs/python.md, Installing")
    except subprocess.CalledProcessError as e:
        sys.exit(f"nnl: {command[0]} failed with {e.returncode}; what Debian packages it needs: docs/python.md, Installing")


def _build(target):
    """Configures, compiles, and installs the package into the folder `target`. NNL_BUILD_FOLDER names a build folder of
    this source that is configured already: it is used as it is."""
    if ready := os.environ.get("NNL_BUILD_FOLDER"):
        _run("cmake", "--build", ready, "--target", "nnl_python")
        _run("cmake", "--install", ready, "--prefix", target, "--component", "python")
        return
    folder = ROOT / f"build-wheel-{sysconfig.get_config_var('SOABI')}"
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DNNLC_PYTHON=ON", f"-DPython_EXECUTABLE={sys.executable}"]
    if shutil.which("ninja"):
        options.append("-GNinja")
    if shutil.which("ccache"):
        options.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
    if not _has_pybind11():
        import pybind11

        options.append(f"-Dpybind11_DIR={pybind11.get_cmake_dir()}")
    environment = dict(os.environ, CCACHE_BASEDIR=str(ROOT), CCACHE_NOHASHDIR="1")
    _run("cmake", "-S", ROOT, "-B", folder, *options, env=environment)
    _run("cmake", "--build", folder, "--target", "nnl_python", "-j", str(os.cpu_count() or 2), env=environment)
    _run("cmake", "--install", folder, "--prefix", target, "--component", "python")


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name, version, metadata = _project()
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    tag = f"{python}-{python}-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
    info = f"{name}-{version}.dist-info"
    wheel = f"{name}-{version}-{tag}.whl"
    with tempfile.TemporaryDirectory() as staging:
        _build(staging)
        contents = {str(p.relative_to(staging)): p.read_bytes() for p in sorted(pathlib.Path(staging).rglob("*")) if p.is_file()}
    contents[f"{info}/METADATA"] = metadata.encode()
    contents[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: nnlc\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    record = ""
    for path, data in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(data)}\n"
    contents[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    with zipfile.ZipFile(os.path.join(wheel_directory, wheel), "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in contents.items():
            archive.writestr(path, data)
    return wheel


def build_sdist(sdist_directory, config_settings=None):
    """The files that git knows, and PKG-INFO."""
    name, version, metadata = _project()
    top = f"{name}-{version}"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    with tarfile.open(os.path.join(sdist_directory, f"{top}.tar.gz"), "w:gz") as archive:
        for path in filter(None, files.split("\0")):
            archive.add(ROOT / path, f"{top}/{path}", recursive=False)
        with tempfile.NamedTemporaryFile("w") as info:
            info.write(metadata)
            info.flush()
            archive.add(info.name, f"{top}/PKG-INFO")
    return f"{top}.tar.gz"
