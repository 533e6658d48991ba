# SPDX-License-Identifier: AGPL-3.0-or-later
"""Processors, containers, memory and Intel's devices, as the system's files tell of them."""

import socket
from pathlib import Path

import pytest

from inference_server.core.hardware import GIB
from inference_server.hardware import intel, memory, processor
from inference_server.hardware.cgroup import Cgroup
from inference_server.hardware.probe import probe
from tests.support.gpus import NO_GPU, FakeGpus

X86 = """processor : 0
model name : Intel(R) Xeon(R)
flags : fpu avx2 avx512f avx512bw avx512vl avx512_vnni amx_tile amx_int8 amx_bf16

processor : 1
model name : another one
flags : fpu
"""
ARM = "processor : 0\nBogoMIPS : 108.00\nFeatures : fp asimd asimddp i8mm bf16\nCPU implementer : 0x41\n"


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder


@pytest.mark.parametrize(
    ("text", "features"),
    [(X86, ("AVX2", "AVX512", "VNNI", "AMX")), (ARM, ("NEON", "DOTPROD", "I8MM", "ARM-BF16")), ("", ()), ("\0:", ())],
)
def test_a_processor_is_known_by_its_flags(tmp_path: Path, text: str, features: tuple[str, ...]) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    found = processor.look(tmp_path / "cpuinfo", Cgroup())
    assert found.features == features
    assert found.model
    assert 1 <= found.cores <= found.threads


def test_without_its_file_a_processor_still_has_cores(tmp_path: Path) -> None:
    assert processor.look(tmp_path / "none", Cgroup()).cores >= 1


def _version_2(root: Path, **inner: str) -> Cgroup:
    _write(root / "docker" / "abc", **inner)
    table = root / "self"
    table.write_text("0::/docker/abc\n")
    return Cgroup.of_this_process(table, root)


def test_a_containers_limits_of_version_2(tmp_path: Path) -> None:
    group = _version_2(
        tmp_path,
        cpu__max="150000 100000\n",
        memory__max=f"{2 * GIB}\n",
        memory__current=f"{GIB}\n",
        memory__stat=f"anon 5\ninactive_file {GIB // 2}\n",
    )
    assert (group.processors(), group.memory_limit()) == (1.5, 2 * GIB)
    assert group.memory_available() == GIB + GIB // 2
    found = memory.look(group)
    assert found.usable == min(2 * GIB, found.total)
    assert found.available <= GIB + GIB // 2


def test_the_smallest_limit_up_to_the_root_counts(tmp_path: Path) -> None:
    group = _version_2(tmp_path, memory__max="max", cpu__max="max 100000")
    _write(tmp_path / "docker", memory__max=str(GIB), memory__current="0", cpu__max="50000 100000")
    assert (group.memory_limit(), group.processors()) == (GIB, 0.5)


def test_a_containers_limits_of_version_1(tmp_path: Path) -> None:
    _write(tmp_path / "cpu", cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    _write(
        tmp_path / "memory",
        memory__limit_in_bytes=str(GIB),
        memory__usage_in_bytes=str(GIB // 4),
        memory__stat="inactive_file 1\ntotal_inactive_file 0\n",
    )
    table = tmp_path / "self"
    table.write_text("4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n")
    group = Cgroup.of_this_process(table, tmp_path)
    assert (group.processors(), group.memory_limit(), group.memory_available()) == (2.0, GIB, GIB - GIB // 4)


@pytest.mark.parametrize("content", ["", "nonsense", "-1", "max", "9223372036854771712", "1e308", "nan", "\x00"])
def test_files_that_say_nothing_are_no_limit(tmp_path: Path, content: str) -> None:
    group = _version_2(tmp_path, cpu__max=content, memory__max=content, memory__current=content, memory__stat=content)
    assert (group.processors(), group.memory_limit(), group.memory_available()) == (None, None, None)


def test_a_group_cannot_lead_out_of_its_root(tmp_path: Path) -> None:
    table = tmp_path / "self"
    table.write_text("0::/../../etc\nrubbish\n")
    group = Cgroup.of_this_process(table, tmp_path / "root")
    assert all(folder.is_relative_to(tmp_path / "root") for folder in group.memory_folders)
    assert Cgroup.of_this_process(tmp_path / "none") == Cgroup()


def _device(classes: Path, nodes: Path, name: str, vendor: str) -> Path:
    _write(classes / name / "device", vendor=f"{vendor}\n")
    return _write(nodes, **{name: ""}) / name


def test_intels_devices_are_told_from_others(tmp_path: Path) -> None:
    drm, accel, devices = tmp_path / "drm", tmp_path / "accel", tmp_path / "dev"
    _device(drm, devices / "dri", "renderD128", "0x10de")
    node = _device(drm, devices / "dri", "renderD129", "0x8086")
    npu = _device(accel, devices / "accel", "accel0", "0x8086")
    found = intel.look(drm, accel, devices, lambda: ["CPU", "GPU.0", "GPU.1", "NPU"])
    assert (found.gpu, found.npu, found.denied, found.driverless) == (node, npu, (), ())
    assert found.usable is found.openvino
    node.unlink()  # not given to the container
    assert intel.look(drm, accel, devices, lambda: ["CPU", "NPU"]).gpu is None
    assert intel.look(tmp_path / "none", tmp_path / "none", devices) == intel.IntelDevices(openvino=found.openvino)


def test_an_intel_gpu_without_driver_is_not_usable(tmp_path: Path) -> None:
    node = _device(tmp_path / "drm", tmp_path / "dev" / "dri", "renderD128", "0x8086")
    pytest.importorskip("openvino", reason="without the library it is not usable anyway")
    found = intel.look(tmp_path / "drm", tmp_path / "accel", tmp_path / "dev", lambda: ["CPU"])
    assert (found.driverless, found.usable) == ((node,), False)
    assert found.obstacle == "OpenVINO finds no driver for it"
    real = intel.look(tmp_path / "drm", tmp_path / "accel", tmp_path / "dev")  # OpenVINO itself is asked
    assert real.driverless == (() if "GPU" in " ".join(intel.openvino_devices()) else (node,))


def test_a_device_counts_as_denied_where_opening_it_fails_whatever_its_mode_says(tmp_path: Path) -> None:
    """As in a container that was not given it: the node is shown, root may do all, and opening it fails."""
    node = _device(tmp_path / "drm", tmp_path / "dev" / "dri", "renderD128", "0x8086")
    node.unlink()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(node))  # nobody can open a file of this kind
    found = intel.look(tmp_path / "drm", tmp_path / "accel", tmp_path / "dev", lambda: pytest.fail("needless"))
    assert (found.denied, found.usable) == ((node,), False)


def test_the_whole_machine_is_looked_at() -> None:
    gpus = FakeGpus()
    found = probe(gpus)
    assert (found.gpus, found.best_gpu, found.no_gpu) == ((gpus.device,), gpus.device, None)
    assert (gpus.opened, gpus.closed) == (1, 1)
    assert found.runtime is not None
    assert "CPUExecutionProvider" in found.runtime.providers
    assert found.memory.usable > 0
    gpus.fails = NO_GPU
    assert (probe(gpus).gpus, probe(gpus).no_gpu) == ((), NO_GPU)
