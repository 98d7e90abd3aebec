"""What is fuzzed: each target takes any bytes, tells what came of them, and raises if that is no documented answer."""

from collections.abc import Callable, Mapping

from tests.fuzz import codec_targets, outside_targets, processor_target, row_target

Target = Callable[[bytes], str]

TARGETS: Mapping[str, Target] = {
    "signal": codec_targets.signal,
    "fill": codec_targets.fill,
    "processor": processor_target.processor,
    "simulate": outside_targets.simulate,
    "policy": outside_targets.policy,
    "row": row_target.row,
    "settings": outside_targets.settings,
}
