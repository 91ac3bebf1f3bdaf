"""`list`: pieces by family, presets and spaces."""

from __future__ import annotations

from ablation.design.spec import ALIASES, FAMILY_FIELDS, PRESET_SUMMARIES
from studies.options import WithPlugins


def run_list(options: WithPlugins) -> int:
    """Print pieces by family with the fields that name them, then presets and spaces."""
    from blocks import FAMILIES  # here: its pieces need torch

    for family, registry in FAMILIES.items():
        fields = [name for name, kind in FAMILY_FIELDS.items() if kind == family]
        aliases = [alias for alias, names in ALIASES.items() if names[0] in fields]
        print(f"{family} (field {', '.join([*aliases, *fields])})")
        for name in registry.names():
            print(f"  {name:<16} {registry.summary(name)}")
        print()
    print("presets")
    for name, text in PRESET_SUMMARIES.items():
        print(f"  {name:<16} {text}")
    print("\nspaces (--space)\n  small            12 networks from the paper's pieces at a quarter of the width, 48 px")
    print("  paper            every network between the paper's two models, 64, at 144 px")
    print("  loss             the KL weight and the compared loss of one small network, 8 variants, 48 px")
    print("  search           147,456 combinations around the paper's baseline at 144 px, for `search`")
    print("  replay           360 networks at 48 px, for `search --quick` and `bench search`")
    print("  FILE.toml        any factors and levels; see the README")
    print("  FILE.toml        or networks, training and metrics of your own: network, train, [factors], [metrics]")
    print("\nnetworks of your own, wherever one is named in `explain`, `cost` and `export`")
    print(
        "  MODULE:CALLABLE  whatever returns a torch.nn.Module, with its arguments: torchvision.models:resnet18 --input 3x224x224,"
    )
    print("                   'my_nets:make(width=32, dense=True)'; without --input, what the module's own example_input() gives")
    return 0
