"""Configurations: checked wherever they come from, and the same after a round trip."""

import pickle
from typing import ClassVar, Literal

import pytest
import yaml

from synth_detect_ros import config
from synth_detect_ros.config.options import (
    Options,
    build,
    leaves,
    read_config,
    read_mapping,
    to_mapping,
    to_yaml,
)
from synth_detect_ros.config.rules import option
from synth_detect_ros.errors import ConfigError

USE_CASES = [
    config.SynthesizeConfig, config.CaptureConfig, config.ReplayConfig, config.TrainConfig,
    config.EvaluateConfig, config.DetectConfig,
]  # fmt: skip


class Inner(Options):
    span: tuple[float, float] = option((0.0, 1.0), 'a range', unit='m', low=0, high=9)
    word: Literal['a', 'b'] = option('a', 'a word')


class Outer(Options):
    count: int = option(3, 'a number', low=1, high=5)
    share: float | None = option(None, 'perhaps a number', low=0)
    names: tuple[str, ...] = option((), 'some words')
    flag: bool = option(False, 'a switch')
    inner: Inner = option(Inner, 'a group')


@pytest.mark.parametrize('cls', USE_CASES)
def test_defaults_survive_mapping_and_yaml(cls):
    assert build(cls, to_mapping(cls())) == cls()
    assert build(cls, yaml.safe_load(to_yaml(cls()))) == cls()


@pytest.mark.parametrize('cls', USE_CASES)
def test_every_option_explains_itself(cls):
    for name, rule, _ in leaves(cls()):
        assert rule.help, name


def test_numbers_and_lists_become_what_the_field_says():
    outer = build(Outer, {'share': 2, 'names': ['x'], 'inner': {'span': [1, 2]}})
    assert outer.share == 2.0
    assert outer.names == ('x',)
    assert outer.inner.span == (1.0, 2.0)
    assert isinstance(outer.inner.span[0], float)


@pytest.mark.parametrize(
    ('mapping', 'message'),
    [
        ({'cuont': 3}, r"unknown key 'cuont'\. Choose one of count, flag, inner, names, share"),
        ({'count': 3.5}, 'count: wanted a whole number, got 3.5'),
        ({'count': True}, 'count: wanted a whole number'),
        ({'flag': 1}, 'flag: wanted true or false'),
        ({'count': 6}, r'count: 6 is out of bounds; wanted 1 \.\. 5'),
        ({'share': 'x'}, r"share: wanted a number, got 'x' \(null is legal too\)"),
        ({'share': float('nan')}, 'share: wanted a finite number, got nan'),
        ({'names': 'x'}, 'names: wanted a list of text'),
        ({'names': [1]}, r'names\[0\]: wanted text'),
        ({'inner': {'span': [2, 1]}}, r'inner\.span: a range is \[lowest, highest\]'),
        (
            {'inner': {'span': [0, 10]}},
            r'inner\.span\[1\]: 10 is out of bounds; wanted 0 \.\. 9 m$',
        ),
        ({'inner': {'span': [1]}}, r'span: wanted \[a number, a number\]'),
        ({'inner': {'word': 'c'}}, r"word: 'c' is not known\. Choose one of a, b"),
        ({'inner': 3}, r'inner: wanted a group of options \(span, word\), got 3'),
    ],
)
def test_wrong_values_name_file_key_and_what_is_allowed(mapping, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build(Outer, mapping, 'some.yaml')
    assert str(caught.value).startswith('some.yaml')


def test_construction_in_python_is_checked_too():
    with pytest.raises(ConfigError, match='count'):
        Outer(count=0)


def test_overrides_reach_into_groups(tmp_path):
    path = tmp_path / 'o.yaml'
    path.write_text('count: 2\ninner: {word: b}\n')
    outer = read_config(Outer, path, ['inner.span=[1, 3]', 'count=4'])
    assert outer == Outer(count=4, inner=Inner(span=(1.0, 3.0), word='b'))


@pytest.mark.parametrize('override', ['count', 'count.deeper=1', 'count=[1'])
def test_wrong_override_is_named(tmp_path, override):
    path = tmp_path / 'o.yaml'
    path.write_text('count: 2\n')
    with pytest.raises(ConfigError, match='count'):
        read_config(Outer, path, [override])


@pytest.mark.parametrize(
    ('text', 'message'), [('a: [', 'cannot be read as YAML'), ('- 1', 'wanted a mapping')]
)
def test_broken_file_is_named(tmp_path, text, message):
    path = tmp_path / 'o.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_mapping(path)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(ConfigError, match='no such file'):
        read_mapping(tmp_path / 'none.yaml')
    (tmp_path / 'empty.yaml').write_text('')
    assert read_config(Outer, tmp_path / 'empty.yaml') == Outer()


def test_freeze_dial_lists_its_positions():
    for good in ('none', 'first_stage', 'both_stages', 'until:500'):
        config.TrainConfig(freeze=good)
    for bad in ('half', 'until', 'until:x', 'none:3'):
        with pytest.raises(ConfigError, match='until:<step>'):
            config.TrainConfig(freeze=bad)


def test_stride_of_a_single_map_is_one_of_two():
    with pytest.raises(ConfigError, match='c4_stride: 12 is not known'):
        config.RFCNConfig(c4_stride=12)


def test_crop_must_be_as_large_as_what_is_pooled():
    with pytest.raises(ConfigError, match=r'box_head\.roi_pool: 4 leaves nothing'):
        config.FasterRCNNConfig(box_head={'roi_size': 3, 'roi_pool': 4})


def test_real_validation_needs_images_and_annotations():
    with pytest.raises(ConfigError, match='give both or none'):
        config.TrainConfig(val_images='somewhere')


@pytest.mark.parametrize('text', ['a: 1\na: 2\n', 'g: {a: 1, a: 2}\n', 'l: [{b: 1, b: 1}]\n'])
def test_a_key_twice_is_no_silent_choice(tmp_path, text):
    file = tmp_path / 'options.yaml'
    file.write_text(text)
    with pytest.raises(ConfigError, match=r'options.yaml, line [12]: .*is given twice'):
        read_mapping(file)


def test_merged_keys_may_be_overridden(tmp_path):
    file = tmp_path / 'options.yaml'
    file.write_text('base: &base {a: 1, b: 2}\nmore: {<<: *base, a: 3}\n')
    assert read_mapping(file)['more'] == {'a': 3, 'b': 2}


def test_comment_tells_help_unit_and_choices_apart():
    text = to_yaml(Inner())
    assert '# a range [m]' in text and '# a word: a | b' in text


class Cat(Options):
    renamed: ClassVar = {'sound.loudness': 'sound.volume'}

    kind: Literal['cat'] = option('cat', 'animal')
    lives: int = option(9, 'lives left', low=0)
    food: str = option('', 'a file', path='always')
    sound: Inner = option(Inner, 'what it says')


class Dog(Options):
    kind: Literal['dog', 'wolf'] = option('dog', 'animal')
    tricks: int = option(0, 'tricks it knows', low=0)
    food: str = option('', 'a file', path='always')


class Zoo(Options):
    animal: Cat | Dog = option(Cat, 'who lives here')
    spare: tuple[Dog, ...] = option((), 'others')


def test_the_literal_of_a_group_chooses_among_several():
    assert build(Zoo, {'animal': {'kind': 'wolf', 'tricks': 2}}).animal == Dog(
        kind='wolf', tricks=2
    )
    assert build(Zoo, {'animal': {'lives': 3}}).animal == Cat(lives=3)
    assert build(Cat | Dog, {'kind': 'dog'}) == Dog()
    assert [name for name, _, _ in leaves(Zoo(animal=Dog()))][:2] == [
        'animal.kind',
        'animal.tricks',
    ]
    assert build(Zoo, yaml.safe_load(to_yaml(Zoo(animal=Dog())))) == Zoo(animal=Dog())
    assert '# tricks it knows' in to_yaml(Zoo(animal=Dog()))


def test_paths_and_overrides_reach_into_each_of_several_groups(tmp_path):
    path = tmp_path / 'zoo.yaml'
    path.write_text('animal: {kind: dog, food: bone.txt}\n')
    zoo = read_config(Zoo, path, ['animal.tricks=4'])
    assert zoo.animal == Dog(tricks=4, food=str(tmp_path / 'bone.txt'))


@pytest.mark.parametrize(
    ('animal', 'message'),
    [
        ({'kind': 'cow'}, r"animal\.kind: 'cow' is not known\. Choose one of cat, dog, wolf\."),
        ({'kind': ['cat']}, 'is not known'),
        (
            {'tricks': 1},
            "animal: unknown key 'tricks': it is an option of kind dog, wolf, not of cat",
        ),
        ({'kind': 'dog', 'sound': {'span': [0, 1]}}, "'sound': it is an option of kind cat"),
        ({'trick': 1}, "animal: unknown key 'trick'. Choose one of food, kind, lives, sound"),
        ({'sound': {'loudness': 2}}, "key 'sound.loudness', now sound.volume"),
        ({'lives': -1}, r'animal\.lives: -1 is out of bounds; wanted 0 or more$'),
        ({'sound': {'span': [3, 2]}}, r'animal\.sound\.span: a range is'),
        (3, 'animal: wanted a group of options, got 3'),
    ],
)
def test_what_is_wrong_in_one_of_several_groups_is_named(animal, message):
    with pytest.raises(ConfigError, match=message):
        build(Zoo, {'animal': animal}, 'zoo.yaml')


def test_what_is_wrong_in_a_list_of_groups_has_its_number():
    with pytest.raises(ConfigError, match=r'spare\[1\]\.tricks: wanted a whole number'):
        build(Zoo, {'spare': [{}, {'tricks': 'x'}]})
    with pytest.raises(
        ConfigError, match=r'spare: wanted a list of a group of options \(.*, got 3'
    ):
        build(Zoo, {'spare': 3})


def test_what_has_no_default_must_be_given():
    class Needy(Options):
        name: str = option(..., 'a name')

    with pytest.raises(ConfigError, match='name: wanted text, got none'):
        Needy()


def test_a_changed_copy_is_checked_and_the_original_stays():
    outer = Outer(count=2)
    assert outer.replace(count=5) == Outer(count=5)
    with pytest.raises(ConfigError, match='count: 6 is out of bounds'):
        outer.replace(count=6)
    with pytest.raises(ConfigError, match='unknown key'):
        outer.replace(cuont=2)
    with pytest.raises(ValueError, match='frozen'):
        outer.count = 4
    assert outer == Outer(count=2)


@pytest.mark.parametrize('cls', USE_CASES)
def test_configurations_cross_process_boundaries(cls):
    assert pickle.loads(pickle.dumps(cls())) == cls()


@pytest.mark.parametrize('key', ['1', 'yes', '[a]', '1.5', 'null'])
def test_a_key_that_yaml_takes_for_something_else_is_named(tmp_path, key):
    file = tmp_path / 'options.yaml'
    file.write_text(f'group: {{{key}: 1}}\n')
    with pytest.raises(ConfigError, match=r'options.yaml, line 1: .*is not text;'):
        read_mapping(file)


def test_what_is_needed_but_empty_is_named_at_once():
    config.ExportConfig(dataset='a', out='b').require()
    with pytest.raises(ConfigError, match=r'^export needs out: give it \(--out, or -p out:='):
        config.ExportConfig(dataset='a').require()
    with pytest.raises(ConfigError, match=r'^export-model needs out: give it'):
        config.ExportModelConfig(model='a').require()
    train = config.TrainConfig(synthesize='a')
    train.replace(out='b').require(images=['b'])
    with pytest.raises(ConfigError, match=r'^train needs out, images: give each of them \(--out'):
        train.require(images=[])


def test_value_that_is_huge_when_written_out_is_shown_in_short(tmp_path):
    levels = ['&a0 [x,x,x,x,x,x,x,x,x]']
    levels += [f'&a{n} [{",".join([f"*a{n - 1}"] * 9)}]' for n in range(1, 5)]
    (tmp_path / 'a.yaml').write_text(f'steps: [{",".join(levels)}]')
    with pytest.raises(ConfigError, match='steps') as found:
        read_config(config.TrainConfig, tmp_path / 'a.yaml')
    assert len(str(found.value)) < 20_000
