"""Gene names of another organism are found; in doubt there is no complaint."""

from __future__ import annotations

import mudata
import pandas as pd
import pytest

import omicsfm as ofm
from omicsfm import _compat, io
from omicsfm.contract._organism import canonical_organism, organism_problem

HUMAN = [f"ENSG{i:011d}" for i in range(50)]
MOUSE = [f"ENSMUSG{i:011d}" for i in range(50)]
HUMAN_SYMBOLS = [
    "CD3E",
    "MS4A1",
    "LYZ",
    "MT-CO1",
    "C1orf112",
    "LINC00115",
    "HLA-A",
    "HLA-DRB1",
    "AL627309.1",
    "TP53",
    "XIST",
    "ACTB",
]
MOUSE_SYMBOLS = [
    "Cd3e",
    "Ms4a1",
    "Lyz2",
    "mt-Co1",
    "Gm1234",
    "0610007P14Rik",
    "H2-K1",
    "Trp53",
    "Xist",
    "Actb",
    "Snap25",
    "Gad1",
]


@pytest.mark.parametrize(
    ("names", "organism", "word"),
    [
        (MOUSE, "human", "50 of mouse"),
        (HUMAN, "mouse", "50 of human"),
        (HUMAN + MOUSE[:5], "human", "5 of mouse"),
        (HUMAN + MOUSE, None, "several species"),
        ([f"GRCh38_{g}" for g in HUMAN] + [f"mm10___{g}" for g in MOUSE], None, "50 human, 50 mouse"),
        ([f"{g}.3" for g in MOUSE], "human", "mouse"),
        (MOUSE_SYMBOLS, "human", "written as in mouse"),
        (HUMAN_SYMBOLS, "mouse", "HLA-A"),
    ],
)
def test_another_organism(names, organism, word):
    assert word in organism_problem(pd.Index(names), organism)


@pytest.mark.parametrize(
    ("names", "organism"),
    [
        (HUMAN, "human"),
        (HUMAN, None),
        (MOUSE, None),
        (MOUSE, "mouse"),
        (HUMAN_SYMBOLS, "human"),
        (MOUSE_SYMBOLS, "mouse"),
        (HUMAN_SYMBOLS, None),
        (MOUSE_SYMBOLS, None),
        ([g.upper() for g in MOUSE_SYMBOLS], "mouse"),  # common practice across species
        (HUMAN * 4 + MOUSE[:1], "human"),  # one transgene
        (HUMAN_SYMBOLS + MOUSE_SYMBOLS[:3], "human"),
        (["Cd3e", "Actb"], "human"),  # too few to tell
        (MOUSE, "macaque"),  # not known here
        ([f"FBgn{i:07d}" for i in range(20)], "human"),
        (["cd39", "cd107a", "cd62p"] * 5, "human"),
    ],
)
def test_no_false_alarm(names, organism):
    assert organism_problem(pd.Index(names), organism) is None


@pytest.mark.parametrize("name", ["human", "Human", "Homo sapiens", "homo_sapiens", "9606", " H. sapiens"])
def test_organism_names(name):
    assert canonical_organism(name) == "human"


def test_setup_and_check_use_the_organism(make_counts):
    mdata = _compat.make_mudata({"rna": make_counts(3, MOUSE_SYMBOLS)})
    with pytest.raises(ofm.InputError, match="modality 'rna', var_names: gene symbols written as in mouse"):
        ofm.setup(mdata, organism="Homo sapiens")
    ofm.setup(mdata, organism="mus musculus")
    mdata.mod["rna"].var["gene_id"] = HUMAN[:12]
    report = ofm.check(mdata)
    assert [(v.modality, v.key) for v in report.violations] == [("rna", "gene_id")]


def test_human_data_sets_raise_no_false_alarm(omicsfm_data):
    names = {
        "pbmc_mosaic_midas/quickstart_pbmc_mosaic.h5mu": {"adt": "protein"},
        "kang18_ifnb_harmony/kang18_harmony.h5ad": {},
        "pbmc_cite_scvi/pbmc_5k_protein_v3.h5ad": {},
        "papalexi21_thp1_eccite_sceptredata/papalexi21_thp1.h5mu": {},
        "pbmc10x_multiome_regions_muon/test_rna_atac.h5mu": {},
    }
    for name, modalities in names.items():
        mdata = io.read(omicsfm_data / name)
        assert isinstance(mdata, mudata.MuData)
        ofm.setup(mdata, modalities=modalities, organism="human")


def test_mouse_genes_are_seen_in_real_data(omicsfm_data):
    genes = pd.Index((omicsfm_data / "mop_snareseq_mouse_cortex/genes.txt").read_text().split())
    assert organism_problem(genes, "mouse") is None
    assert organism_problem(genes, None) is None
    assert "written as in mouse" in organism_problem(genes, "human")
