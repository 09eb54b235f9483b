"""Which device is chosen when there are several, and what is said when none works."""

import pytest

from synth_detect_ros.errors import RenderingError
from synth_detect_ros.rendering import egl


class Context:
    def __init__(self, number: int) -> None:
        self.number, self.released = number, False

    def release(self) -> None:
        self.released = True


@pytest.mark.parametrize(
    ('devices', 'chosen'),
    [
        (['llvmpipe (LLVM 15)'], 0),
        (['llvmpipe (LLVM 15)', 'softpipe'], 0),
        (['llvmpipe (LLVM 15)', 'NVIDIA H200', 'NVIDIA H200'], 1),
        (['NVIDIA H200', 'llvmpipe (LLVM 15)'], 0),
        ([None, 'softpipe', None, 'Mesa Intel'], 3),
    ],
)
def test_the_first_hardware_is_chosen(
    monkeypatch: pytest.MonkeyPatch, devices: list[str | None], chosen: int
) -> None:
    made = []

    def make(number: int) -> tuple[Context, str]:
        if number >= len(devices):
            raise Exception(f'requested device index {number}, but found {len(devices)} devices')
        name = devices[number]
        if name is None:
            raise Exception('eglInitialize failed')
        made.append(Context(number))
        return made[-1], name

    monkeypatch.delenv('EGL_DEVICE_ID', raising=False)
    monkeypatch.setattr(egl, '_make_context', make)
    context, name = egl.open_egl()
    assert (context.number, name) == (chosen, devices[chosen])
    assert [c.number for c in made if not c.released] == [chosen]
    monkeypatch.setenv('EGL_DEVICE_ID', str(chosen))
    assert egl.open_egl()[0].number == chosen


def test_every_problem_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(number: int) -> None:
        raise Exception('requested device index' if number == 2 else 'no permission')

    monkeypatch.delenv('EGL_DEVICE_ID', raising=False)
    monkeypatch.setattr(egl, '_make_context', fail)
    with pytest.raises(RenderingError, match='device 0: no permission; device 1: no permission'):
        egl.open_egl()
