import pytest

import nnl

NET = """
## A small network.
layer Net(hidden: int = 8) {
  first  = Linear(4, hidden)
  second = Linear(hidden, 3)
  forward(x: [N, 4]) -> [N, 3] { x |> first |> relu |> second }
  fn both(x: [N, 4]) -> ([N, hidden], [N, 3]) {
    let h = x |> first |> relu
    (h, second(h))
  }
}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Compiled kernels go to a folder of the test's own, for all tests of a process the same one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp()))


@pytest.fixture
def program():
    return nnl.compile(NET, threads=1)


@pytest.fixture
def net(program):
    return program.layer("Net")
