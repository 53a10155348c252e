#!/usr/bin/env python3
"""Checks a software bill of materials against the schema of CycloneDX 1.5 (JSON, strict).

It needs the package cyclonedx-python-lib[json-validation].
"""

import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(file.read())
    if error is not None:
        sys.exit(f"error: {sys.argv[1]}: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    main()
