"""Show the packaged configurations, or one with every field resolved."""

import click

from data.console import console
from radiograph.command import Command, set_option


@click.command(cls=Command)
@click.argument("cfg", required=False, metavar="[CONFIG]")
@set_option()
@click.option("--reference", is_flag=True, help="Print the reference page of all fields, in Markdown, instead.")
@click.option("--schema", is_flag=True, help="Print the JSON schema, for editors, instead.")
def main(cfg: str | None, overrides: tuple[str, ...], reference: bool, schema: bool) -> None:
    """List the packaged configurations, or print one with all its fields.

    CONFIG is a name or a path. The output is YAML, with every default and everything inherited from `extends`: a
    starting point for a configuration of your own.
    """
    if reference or schema:
        from detectors.config.reference import reference_page, schema_text

        click.echo(reference_page() if reference else schema_text(), nl=False)
        return

    import yaml

    from detectors.config.files import CONFIGS, read_config

    if cfg is None:
        console.print("\n".join(sorted(path.name for path in CONFIGS.glob("*.yaml"))), highlight=False)
        return
    click.echo(yaml.safe_dump(read_config(cfg, overrides).as_dict(), sort_keys=False), nl=False)
