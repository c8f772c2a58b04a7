"""What is read of a program compiled for a GPU; and, where JAX can compile for one, the
ceilings that the project's programs keep, at small sizes."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import compiled, gpu_check

THUNKS = """\
001: kCopy         [source] kCopy
002: kWhile        [prev=001]
condition:
    003: kCustomKernel [source] compare grid: [1, 1, 1]
  body:
    004: kCustomKernel [source] add grid: [1, 1, 1]
    005: kWhile        [prev=004]
condition:
        006: kCustomKernel [source] compare grid: [1, 1, 1]
      body:
        007: kConvolution [source] conv
    008: kConditional  [prev=005]
      false_branch:
        009: kCopy         [source] kCopy
      true_branch:
        010: kCustomKernel [source] select grid: [1, 1, 1]
011: kCustomKernel [prev=002] sum grid: [1, 1, 1]
"""
HLO = """\
HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[4,4]{1,0})->f32[4,4]}

%half (a: f32[4,4]) -> f32[4,4] {
  ROOT %a = f32[4,4]{1,0} parameter(0)
}

%body (p: (s32[], f32[4,4])) -> (s32[], f32[4,4]) {
  %p = (s32[], f32[4,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[4,4]{1,0} get-tuple-element(%p), index=1
  %y = f32[4,4]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}, \
metadata={op_name="jit(f)/rays/dot_general"}, backend_config={"reification_cost":\
[{"end_to_end_cycles":9,"exec_time_us":0.5,"name":""},{"exec_time_us":7,"name":"sol"}]}
  ROOT %t = (s32[], f32[4,4]{1,0}) tuple(%i, %y)
}

%cond (q: (s32[], f32[4,4])) -> pred[] {
  %q = (s32[], f32[4,4]{1,0}) parameter(0)
  %j = s32[] get-tuple-element(%q), index=0
  %n = s32[] constant(3)
  ROOT %less = pred[] compare(%j, %n), direction=LT
}

ENTRY %main (z: f32[4,4]) -> f32[4,4] {
  %z = f32[4,4]{1,0} parameter(0)
  %zero = s32[] constant(0)
  %begin = (s32[], f32[4,4]{1,0}) tuple(%zero, %z)
  %loop = (s32[], f32[4,4]{1,0}) while(%begin), condition=%cond, body=%body, \
backend_config={"known_trip_count":{"n":"3"}}
  %w = f32[4,4]{1,0} get-tuple-element(%loop), index=1
  %exact = f32[4,4]{1,0} dot(%w, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}, \
operand_precision={highest,highest}, metadata={op_name="jit(f)/pose/dot_general"}
  ROOT %all = f32[4,4]{1,0} all-reduce(%exact), replica_groups={}, to_apply=%half
}
"""


def test_launches_in_loops_count_as_often_as_they_run():
    found = compiled.launches(THUNKS, [5, 2])
    # Of each turn of the outer loop: its test, a kernel, two of (test, call), two branches.
    assert found == {"kCopy": 1 + 5, "kCustomKernel": 5 * (1 + 1 + 2 + 1) + 1} | {
        "kConvolution": 5 * 2
    }
    assert compiled.launches(THUNKS, [None, None])["kConvolution"] == 1


def test_a_module_is_read():
    module = compiled.Module(HLO)
    assert module.trips() == [3]
    assert module.times() == {"main": 1, "body": 3}
    # Four products of 4 x 4 matrices.
    assert module.cost()["flops"] >= 4 * 2 * 4**3 > module._counted("main")["flops"] / 2
    assert module.model_us() == 1.5
    assert module.conditionals() == 0 and module.host_reads() == 0
    open_loop = compiled.Module(HLO.replace('"known_trip_count":{"n":"3"}', ""))
    assert open_loop.trips() == [None] and open_loop.host_reads() == 1
    assert module.collectives() == {"all-reduce": [64]}
    assert sorted(module.products()) == [
        ("f32", "jit(f)/pose/dot_general"),
        ("tf32", "jit(f)/rays/dot_general"),
    ]


def test_a_product_is_as_precise_as_its_factors():
    narrow = HLO.replace(
        "  %exact = f32[4,4]{1,0} dot(%w, %w)",
        "  %half_w = bf16[4,4]{1,0} convert(%w)\n"
        "  %exact = f32[4,4]{1,0} dot(%half_w, %half_w)",
    )
    kinds = [kind for kind, _ in compiled.Module(narrow).products()]
    assert sorted(kinds) == ["bf16", "tf32"]
    library = 'custom-call(%half_w, %w), custom_call_target="__cublas$lt$matmul"'
    called = compiled.Module(narrow.replace("dot(%half_w, %half_w)", library))
    assert sorted(kind for kind, _ in called.products()) == ["bf16", "tf32"]


def test_ways_of_adding_are_told_apart():
    kernels = (
        ".entry a(\n atom.relaxed.sys.global.cas.b32 %r5, [%rd3], %r19, %r18;\n",
        ".entry b(\n red.relaxed.gpu.global.v4.f32.add [%rd1], {%f1};\n",
        ".entry c(\n atom.global.v2.f32.add %f2, [%rd1], {%f1};\n"
        ".entry d(\n red.global.add.f32 [%rd1], %f1;\n",
        ".entry e(\n st.global.f32 [%rd1], %f1;\n",
    )
    expected = {"compare-and-swap": 1, "vector": 2, "single": 1}
    assert compiled.scatters(kernels) == expected


def test_what_is_over_its_ceiling_is_said():
    line = {
        "program": "head",
        "devices": 8,
        "launches": 10,
        "conditionals": 0,
        "scatters": {"vector": 2},
        "sm": 90,
        "rounded_coordinates": [],
        "collectives": {"all-reduce": {"count": 1, "bytes": 8}},
    }
    assert gpu_check.over(line) == []
    bad = {
        "launches": 1000,
        "conditionals": 1,
        "scatters": {"compare-and-swap": 1},
        "rounded_coordinates": ["rays"],
        "collectives": {"all-gather": {"count": 1, "bytes": 8}},
    }
    assert len(gpu_check.over(line | bad)) == 5
    assert len(gpu_check.over(line | bad | {"sm": 80})) == 4
    more = line | {"launches": gpu_check.LAUNCHES["head"] + 1}
    assert not gpu_check.over(more) and gpu_check.over(more | {"devices": 1})


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("jax_plugins") is None,
    reason="JAX can't compile for a GPU here: make gpu-check",
)
def test_programs_for_a_gpu_keep_their_ceilings():
    script = Path(gpu_check.__file__)
    call = [sys.executable, script, "--tiny", "--cards", "h100"]
    ended = subprocess.run(call, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr[-3000:]
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert {line["devices"] for line in lines} == {1, 8}
    assert all(line["computed"] and line["launches"] for line in lines)
