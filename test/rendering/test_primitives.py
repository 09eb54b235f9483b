"""Built-in distractors: solid, sized like things, textured, and the same for the same seed."""

from pathlib import Path

import numpy as np
import pytest
import scenes

from synth_detect_ros.config import BUILTIN, SynthesizeConfig
from synth_detect_ros.config.options import read_config
from synth_detect_ros.dataset.inputs import provenance, read_inputs
from synth_detect_ros.dataset.synthesize import make_sample
from synth_detect_ros.rendering.meshes.surface import is_closed
from synth_detect_ros.rendering.primitives import COUNT, SIDE, TEXTURE, primitives

PHOTO = np.full((90, 120, 3), (3, 250, 7), np.uint8)


def made(seed: int = 0, photographs=(PHOTO,), diameter: float = 0.3):
    return primitives(np.random.default_rng(seed), photographs, diameter)


@pytest.mark.parametrize('model', made(), ids=lambda model: model.name)
def test_solids_are_closed_and_sized_like_things(model) -> None:
    (part,) = model.mesh.parts
    assert is_closed(part.vertices[part.faces.reshape(-1)].astype(np.float64))
    sides = np.ptp(model.mesh.vertices, axis=0) / 0.3
    assert (sides >= SIDE[0] * 0.99).all() and (sides <= SIDE[1] * 1.01).all()
    outward = ((part.vertices - model.mesh.centre) * part.normals).sum(axis=1)
    assert (outward > 0).all()


@pytest.mark.parametrize('model', made(), ids=lambda model: model.name)
def test_textures_cover_the_solids(model) -> None:
    (part,) = model.mesh.parts
    assert part.texture.shape == (TEXTURE, TEXTURE, 3)
    assert part.uv.min() >= -1e-6 and part.uv.max() <= 1 + 1e-6
    assert np.ptp(part.uv, axis=0).min() > 0.9


def test_half_of_them_carry_photographs() -> None:
    assert len(made()) == COUNT
    green = [(m.mesh.parts[0].texture == PHOTO[0, 0]).all() for m in made()]
    assert sum(green) == COUNT // 2
    shapes = {m.name.partition('_')[0] for m, photo in zip(made(), green, strict=True) if photo}
    assert shapes == {'box', 'cylinder', 'sphere'}


def test_without_photographs_all_have_patterns() -> None:
    assert all(m.mesh.parts[0].texture.std() > 1 for m in made(photographs=()))


def test_seed_decides() -> None:
    first, same, other = made(0), made(0), made(1)
    for a, b, c in zip(first, same, other, strict=True):
        np.testing.assert_array_equal(a.mesh.parts[0].texture, b.mesh.parts[0].texture)
        np.testing.assert_array_equal(a.mesh.vertices, b.mesh.vertices)
        assert not np.array_equal(a.mesh.vertices, c.mesh.vertices)


def test_they_are_as_large_as_the_objects_they_distract_from() -> None:
    for small, large in zip(made(diameter=0.02), made(diameter=2.0), strict=True):
        np.testing.assert_allclose(large.mesh.diameter, 100 * small.mesh.diameter, rtol=1e-4)


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> SynthesizeConfig:
    return scenes.config(tmp_path_factory.mktemp('inputs')).replace(distractors=BUILTIN)


def test_they_are_drawn_but_never_labelled(config: SynthesizeConfig) -> None:
    many = config.replace(scene=config.scene.replace(distractors=(3, 3)))
    with_them, without = scenes.generator(many), scenes.generator(many.replace(distractors=''))
    differ = False
    for index in range(4):
        a, b = make_sample(with_them, index), make_sample(without, index)
        assert len(a.instances) == len(b.instances)
        differ |= not np.array_equal(a.image, b.image)
    assert differ


def test_record_of_a_data_set_tells_them_apart(config: SynthesizeConfig) -> None:
    first, again, other = (
        provenance(changed, read_inputs(changed))
        for changed in (config, config, config.replace(seed=1))
    )
    assert first == again
    names = [row['name'] for row in first['inputs']['models']]
    assert sum(name.startswith(('box_', 'cylinder_', 'sphere_')) for name in names) == COUNT
    own = [[r['sha256'] for r in p['inputs']['models'][-COUNT:]] for p in (first, other)]
    assert own[0] != own[1]


def test_the_word_is_no_path(tmp_path: Path) -> None:
    file = tmp_path / 'synthesize.yaml'
    file.write_text('distractors: builtin\nobjects: objects.yaml\n')
    config = read_config(SynthesizeConfig, file)
    assert config.distractors == BUILTIN
    assert config.objects == str(tmp_path / 'objects.yaml')
    assert read_config(SynthesizeConfig, None, ['distractors=builtin']).distractors == BUILTIN
