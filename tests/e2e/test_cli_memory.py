"""Who goes first where a pod's memory is used up: whatever is exec'd into it, not the agent."""

from pathlib import Path

import pytest

from obi_core.errors import LoadError
from obi_core.kernel.bcc_process import run_child

SPY = """
import os
with open(os.environ["SPY"], "w") as file:
    file.write(open("/proc/self/oom_score_adj").read())
"""
OWN = int(Path("/proc/self/oom_score_adj").read_text())


@pytest.mark.parametrize(("words", "score"), [(("plugins", "list"), 1000), (("doctor",), 1000), (("run",), OWN)])
def test_every_command_but_the_agent_itself_gives_way(obi, plugin_folder, tmp_path, words, score):
    folder = plugin_folder("spy", SPY)
    obi(*words, "--plugins", "spy", PYTHONPATH=str(folder), SPY=str(tmp_path / "score"))
    assert int((tmp_path / "score").read_text()) == score


def test_bcc_is_not_begun_where_there_is_no_room_for_it():
    with pytest.raises(LoadError) as caught:
        run_child("tcp.bcc.c", {}, (), environ={}, deadline_s=1.0, room=lambda: 100 << 20)
    assert str(caught.value) == (
        "tcp.bcc.c: BCC takes some 128 MB while it compiles, and 100 MB are left in this cgroup; raise its memory limit"
    )
