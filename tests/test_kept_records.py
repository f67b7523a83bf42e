"""The evidence that the pages show is what the code of today makes: no kept record is older than its sources."""

from __future__ import annotations

import pytest

from evolm import judging, paths
from evolm.finding import Finding, findings
from evolm.record import Store, record_key
from evolm.sources import source_closure


@pytest.mark.parametrize("finding", findings().values(), ids=lambda finding: finding.name)
def test_every_kept_record_has_the_key_that_the_code_gives_its_parameters_today(finding: Finding) -> None:
    records = Store(paths.kept_records()).records(finding.name)
    assert records, f"{finding.name} has no kept record"
    for record in records:
        params = judging.params_of(finding, record).model_dump(mode="json")
        dtype = str(getattr(finding.module("experiment"), "DTYPE", "float32"))
        # Which of the open models were there, and the device, belong to the machine that made the record.
        inputs = {**record.manifest["key_inputs"], "sources": source_closure(finding.experiment), "dtype": dtype}
        was, now = record.manifest["key_inputs"]["sources"], inputs["sources"]
        changed = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
        told = f"record {record.key} was made by other code ({', '.join(changed)}) or parameters: run it again, keep it"
        assert record_key(finding.name, params, **inputs) == record.key, told


@pytest.mark.parametrize("finding", findings().values(), ids=lambda finding: finding.name)
def test_every_kept_record_is_a_presets_own_run_of_report_seeds(finding: Finding) -> None:
    for record in Store(paths.kept_records()).records(finding.name):
        assert judging.preset_of(finding, record) is not None, record.key
        assert not judging.has_development_seeds(judging.params_of(finding, record)), record.key
