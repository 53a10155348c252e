#!/usr/bin/env python3
"""Writes a software bill of materials (CycloneDX 1.5, JSON) of the program to standard output.

It lists the crates that are compiled into the program or build it, for all systems, from
Cargo.lock. Crates that only tests use are not in it. The same Cargo.lock gives the same bytes.
"""

import json
import os
import subprocess
import tomllib
import uuid

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")


def cargo_metadata():
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def checksums():
    """SHA-256 of each crate's archive, by name and version."""
    with open(os.path.join(ROOT, "Cargo.lock"), "rb") as file:
        packages = tomllib.load(file)["package"]
    return {(package["name"], package["version"]): package.get("checksum") for package in packages}


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksum):
    entry = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    }
    if package["license"]:
        # Some crates separate licences by a slash, which SPDX does not know.
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return entry


def main():
    metadata = cargo_metadata()
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]

    def dependencies(node):
        used = [dep for dep in node["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
        return sorted({dep["pkg"] for dep in used}, key=lambda name: purl(packages[name]))

    found, open_nodes = {root}, [root]
    while open_nodes:
        new = set(dependencies(nodes[open_nodes.pop()])) - found
        found |= new
        open_nodes += new

    sums = checksums()
    ordered = sorted(found, key=lambda name: purl(packages[name]))
    for name in ordered:
        source = packages[name]["source"]
        assert source in (None, CRATES_IO), f"{name}: a package URL of this source is not known"
    entries = {
        name: component(packages[name], sums[packages[name]["name"], packages[name]["version"]]) for name in ordered
    }
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {**entries.pop(root), "type": "application"}},
        "components": list(entries.values()),
        "dependencies": [
            {"ref": purl(packages[name]), "dependsOn": [purl(packages[dep]) for dep in dependencies(nodes[name])]}
            for name in ordered
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bom, sort_keys=True))
    bom["serialNumber"] = f"urn:uuid:{serial}"
    print(json.dumps(bom, indent=2))


if __name__ == "__main__":
    main()
