"""Log lines as the contest's readers expect them, written and read back."""

from golf.run.log_lines import clock_line, final_line, parse_log, size_lines, step_line

RECORD = {"step": 20, "elapsed": 3.21, "train_loss": 2.5, "val_loss": 2.25, "val_bpb": 1.3333, "tokens_per_s": 5120}


def test_a_step_line_has_the_contests_form():
    line = step_line(RECORD, 100)
    assert line.startswith("step:20/100 train_loss:2.5000 val_loss:2.2500 val_bpb:1.3333 ")
    assert "train_time:3210ms step_avg:160.5ms" in line


def test_what_is_written_is_read_back():
    lines = ["seed:42 recipe:x", step_line(RECORD, 100), *size_lines(model=900, code=80)]
    lines += [clock_line({"calibrate": 1.5, "measure packed": 0.25}), final_line(loss=2.26, bpb=1.34, seconds=4.0)]
    facts = parse_log("\n".join(lines))
    assert (facts.seed, facts.steps, facts.total_steps) == (42, 20, 100)
    assert (facts.val_loss, facts.val_bpb, facts.train_seconds) == (2.26, 1.34, 3.21)
    assert facts.total_bytes == 980
    assert facts.stages == {"calibrate": 1.5, "measure_packed": 0.25, "eval": 4.0}


def test_a_log_of_the_contests_own_script_is_read():
    facts = parse_log(
        "model_params:17059912\nseed:1337\n"
        "step:0/20000 val_loss:6.9357 val_bpb:4.1077 train_time:0ms step_avg:0.01ms\n"
        "step:200/20000 train_loss:2.7690 train_time:8682ms step_avg:43.41ms\n"
        "step:13780/20000 val_loss:2.0606 val_bpb:1.2172 train_time:600038ms step_avg:43.54ms\n"
        "Serialized model int8+zlib: 15815847 bytes (payload:17178912 raw_torch:17224025 payload_ratio:3.91x)\n"
        "Total submission size int8+zlib: 15863489 bytes\n"
        "final_int8_zlib_roundtrip val_loss:2.0727 val_bpb:1.2244 eval_time:1401ms\n"
        "final_int8_zlib_roundtrip_exact val_loss:2.07269931 val_bpb:1.22436570\n"
    )
    assert (facts.seed, facts.steps, facts.train_seconds) == (1337, 13780, 600.038)
    assert (facts.val_loss, facts.val_bpb, facts.total_bytes) == (2.07269931, 1.22436570, 15863489)
    assert facts.stages["eval"] == 1.401


def test_nothing_known_is_none():
    facts = parse_log("hello\n")
    assert (facts.seed, facts.val_loss, facts.train_seconds, facts.total_bytes) == (None, None, None, None)
