"""Write the JSON Schema of every YAML file that people write, to docs/schema.

Editors with a YAML language server complete and check a file whose first line names its schema:

    # yaml-language-server: $schema=<path>/docs/schema/train.json
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
from pydantic.json_schema import models_json_schema

from synth_detect_ros import config
from synth_detect_ros.config.options import Options
from synth_detect_ros.experiments.grid import Grid, Setup
from synth_detect_ros.modelling.box_file import BoxOptions
from synth_detect_ros.rendering.objects import ObjectOptions

FOLDER = Path(__file__).resolve().parents[1] / 'docs' / 'schema'
COMMENT = f'Written by tools/schemas.py with pydantic {pydantic.VERSION.rpartition(".")[0]}'
# One file a configuration, by the name of its command or file.
FILES: dict[str, type[Options]] = {
    'synthesize': config.SynthesizeConfig,
    'train': config.TrainConfig,
    'evaluate': config.EvaluateConfig,
    'detect': config.DetectConfig,
    'export': config.ExportConfig,
    'export_model': config.ExportModelConfig,
    'box': BoxOptions,
    'grid': Grid,
    'setup': Setup,
}
NODES = {
    'synthesize_node': config.CaptureConfig,
    'detect_node': config.DetectConfig,
    'camera_replay_node': config.ReplayConfig,
}
# What the options `train` and `synthesize` of a grid or setup hold.
INSIDE = {'train': config.TrainConfig, 'synthesize': config.SynthesizeConfig}


def main() -> None:
    """Write all schemas."""
    FOLDER.mkdir(exist_ok=True)
    for name, schema in schemas():
        (FOLDER / f'{name}.json').write_text(json.dumps(schema, indent=1) + '\n')


def schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and content of each schema."""
    for name, cls in FILES.items():
        schema = _definitions(cls, *(INSIDE.values() if name in ('grid', 'setup') else ()))
        if name in ('grid', 'setup'):
            _open_groups(schema['$defs'])
        if name == 'box':
            _allow_one(schema['$defs']['BoxOptions']['properties']['faces'])
        yield name, {**schema, 'allOf': [{'$ref': _ref(cls)}]}
    objects = _definitions(ObjectOptions)
    objects['$defs']['ObjectOptions']['required'] = ['name', 'mesh']
    rows = {'type': 'array', 'minItems': 1, 'items': {'$ref': _ref(ObjectOptions)}}
    yield 'objects', {**objects, **_mapping(objects=rows), 'required': ['objects']}
    yield 'parameters', _parameters()


def _parameters() -> dict[str, Any]:
    """Return the schema of a ROS parameter file, in which other nodes may stand as well."""
    schema = _definitions(*NODES.values())
    for cls in NODES.values():  # what rclpy adds to each node
        schema['$defs'][cls.__name__]['properties'] |= {
            'use_sim_time': {'type': 'boolean', 'description': 'take the time from /clock'},
            'qos_overrides': {'type': 'object', 'description': 'quality of service, by topic'},
        }
    return schema | {
        'type': 'object',
        'patternProperties': {
            f'(^|/){name}$': _mapping(ros__parameters={'$ref': _ref(cls)})
            for name, cls in NODES.items()
        },
    }


def _definitions(*classes: type[Options]) -> dict[str, Any]:
    """Return a schema that defines some configurations and says nothing yet."""
    pairs = [(cls, 'validation') for cls in dict.fromkeys(classes)]
    defined = models_json_schema(pairs)[1]  # type: ignore[arg-type]
    head = {'$schema': 'http://json-schema.org/draft-07/schema#', '$comment': COMMENT}
    return {**head, **_draft_7(defined)}


def _draft_7(node: Any) -> Any:
    """Write tuples as editors know them, and drop the titles, which repeat the keys."""
    if isinstance(node, dict):
        kept = {k: v for k, v in node.items() if k != 'title' or not isinstance(v, str)}
        return {'items' if k == 'prefixItems' else k: _draft_7(v) for k, v in kept.items()}
    return [_draft_7(value) for value in node] if isinstance(node, list) else node


def _open_groups(definitions: dict[str, Any]) -> None:
    """Say what the mappings `train` and `synthesize` hold; a file may stand for the latter."""
    definitions['TrainConfig']['properties']['preset'] = {
        'type': 'string', 'description': 'name of the preset that the options change',
    }  # fmt: skip
    for definition in definitions.values():
        for key, cls in INSIDE.items():
            option = definition['properties'].get(key, {})
            if option.get('type') == 'object':
                file = [{'type': 'string'}] if key == 'synthesize' else []
                option['anyOf'] = [{'$ref': _ref(cls)}, *file]
                for rest in ('type', 'additionalProperties'):
                    option.pop(rest, None)


def _allow_one(faces: dict[str, Any]) -> None:
    """Let one photograph stand for a list of one."""
    many = faces['additionalProperties']
    faces['additionalProperties'] = {'anyOf': [many['items'], many]}


def _mapping(**properties: Any) -> dict[str, Any]:
    return {'type': 'object', 'properties': properties, 'additionalProperties': False}


def _ref(cls: type[Options]) -> str:
    return f'#/$defs/{cls.__name__}'


if __name__ == '__main__':
    main()
