"""What was fetched is not lost between two rebalances that come one upon the other."""

import asyncio
from pathlib import Path

from app.core.policy import TABLE_POLICY
from app.settings import Settings
from app.stream.faust_app import SizerApp


def test_a_chunk_that_waits_stays_when_the_flow_goes_on(tmp_path: Path) -> None:
    """Faust lets the flow go on more than once after a rebalance, the last time after positions were sought."""

    async def go_on_twice() -> object:
        app = SizerApp(Settings(data_dir=tmp_path), TABLE_POLICY)
        waiting = app.FlowControlQueue(4, clear_on_resume=True)
        app.flow_control.resume()
        waiting.put_nowait("chunk")
        app.flow_control.resume()
        return waiting.get_nowait()

    assert asyncio.run(go_on_twice()) == "chunk"
