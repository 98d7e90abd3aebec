"""What is fuzzed: each target takes any bytes, tells what came of them, and raises if that is no documented answer."""

from collections.abc import Callable, Mapping

from tests.fuzz import avro_targets, codec_targets, outside_targets, processor_target, row_target

Target = Callable[[bytes], str]

TARGETS: Mapping[str, Target] = {
    "signal": codec_targets.signal,
    "fill": codec_targets.fill,
    "avro-signal": avro_targets.signal,
    "avro-fill": avro_targets.fill,
    "avro-schema": avro_targets.schema,
    "processor": processor_target.processor,
    "simulate": outside_targets.simulate,
    "policy": outside_targets.policy,
    "row": row_target.row,
    "settings": outside_targets.settings,
}
