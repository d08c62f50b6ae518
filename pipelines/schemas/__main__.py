"""Write the schema files, or with --check say which of them no longer agree with the models (exit 1)."""

import argparse
import sys

from pipelines.schemas import FOLDER, drifted, schema_texts


def main() -> int:
    """Run `python -m pipelines.schemas [--check]`."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.schemas", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail when a file has drifted")
    names = drifted()
    if parser.parse_args().check:
        for name in names:
            sys.stderr.write(
                f"pipelines/schemas/{name} differs from its model: run python -m pipelines.schemas\n"
            )
        return 1 if names else 0
    for name in names:
        (FOLDER / name).write_text(schema_texts()[name], encoding="utf-8")
        sys.stdout.write(f"wrote pipelines/schemas/{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
