from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import omicsfm as ofm
from omicsfm import InputError, _compat, contract, datasets
from omicsfm.datasets import _load
from omicsfm.datasets._fetch import data_dir
from omicsfm.datasets._schema import DataKeys

SHAPES = {
    "pbmc_mosaic": (1600, {"rna": (1200, 500), "protein": (1200, 224)}),
    "mop_snareseq_mouse_cortex": (10309, {"rna": (10309, 1677), "atac": (10309, 25734)}),
    "pbmc_cite_scvi": (400, {"rna": (400, 17516), "protein": (400, 29)}),
    "pbmc10x_multiome_regions_muon": (1000, {"rna": (1000, 45), "atac": (1000, 174)}),
    "pbmc3k_singlet": (2700, {"rna": (2700, 13714)}),
    "pbmc68k_reduced": (700, {"rna": (700, 765)}),
    "celltypist_sample": (559, {"rna": (559, 32786)}),
    "cll_mofa": (200, {"Drugs": (184, 310), "Methylation": (196, 4248), "mRNA": (136, 5000), "Mutations": (200, 69)}),
    "papalexi21_thp1_eccite_sceptredata": (20729, {"rna": (20729, 299), "guide": (20729, 110)}),
    "norman19": (3375, {"rna": (3375, 500), "guide": (3375, 32)}),
    "mcfaline23": (2586, {"rna": (2586, 500), "guide": (2586, 10)}),
    "replogle22_k562_rpe1_sigrecon": (1170, {"rna": (1170, 7225)}),
    "kang18_ifnb_harmony": (2000, {"rna": (2000, 9015), "guide": (2000, 2)}),
    "kang18_ifnb_distinct100": (9517, {"rna": (9517, 100), "guide": (9517, 2)}),
}


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory):
    """Load a data set once; skip only where its files are truly out of reach."""
    patch = pytest.MonkeyPatch()
    patch.setenv("OMICSFM_CACHE", str(tmp_path_factory.mktemp("cache")))
    loaded = {}

    def get(name: str):
        if name not in loaded:
            folder, paths = (
                data_dir(),
                [s.path for f in datasets.info(name).files for s in f.sources if s.kind == "file"],
            )
            here = folder is not None and bool(paths) and all((folder / path).is_file() for path in paths)
            try:
                loaded[name] = datasets.load(name)
            except InputError as err:
                if here or "none of its sources gave it" not in str(err):
                    raise
                pytest.skip(f"{name}: its files are not on this machine and cannot be fetched")
        return loaded[name]

    yield get
    patch.undo()


def test_every_container_of_the_registry_is_tested() -> None:
    assert set(SHAPES) == {entry.name for entry in datasets.registry().datasets if entry.loader != "files"}


@pytest.mark.parametrize("name", SHAPES)
def test_every_data_set_meets_the_contract(name: str, load) -> None:
    mdata, entry = load(name), datasets.info(name)
    report = contract.check(mdata)
    assert report.ok, str(report)
    n_obs, shapes = SHAPES[name]
    assert mdata.n_obs == n_obs == entry.n_obs
    assert {mod: adata.shape for mod, adata in mdata.mod.items()} == shapes
    made = {} if entry.control is None else {"guide": "guide"}
    assert list(mdata.mod) == list(entry.modalities | made)
    assert {mod: contract.recipe_of(mdata, mod) for mod in mdata.mod} == entry.modalities | made
    assert contract.control_of(mdata) == entry.control
    keys = contract.keys(mdata)
    assert all(getattr(keys, role) == column for role, column in entry.keys)
    for _, column in entry.keys:
        assert column is None or mdata.obs[column].nunique() > 1
    assert list(mdata.obsm["modality_mask"].sum()) == [shape[0] for shape in shapes.values()]
    assert not any(":" in column for column in mdata.obs.columns)
    assert contract.history(mdata)[-1]["step"] == "datasets.load"


@pytest.mark.parametrize("name", [name for name, (n_obs, _) in SHAPES.items() if n_obs < 5000])
def test_every_small_data_set_survives_the_disk(name: str, load, tmp_path: Path) -> None:
    mdata = load(name)
    again = ofm.io.read(ofm.io.write(mdata, tmp_path / "x.h5mu"))
    assert contract.check(again).ok
    assert contract.fingerprint(again) == contract.fingerprint(mdata)
    assert again.obs.columns.equals(mdata.obs.columns)


@pytest.mark.parametrize("name", ["pbmc_mosaic", "pbmc3k_singlet", "celltypist_sample", "kang18_ifnb_harmony"])
def test_counts_are_counts(name: str, load) -> None:
    for adata in load(name).mod.values():
        assert sp.issparse(adata.X)
        assert adata.X.data.min() > 0
        assert np.array_equal(adata.X.data, np.rint(adata.X.data))


def test_the_mosaic_stays_a_mosaic(load) -> None:
    mdata = load("pbmc_mosaic")
    measured = contract.modality_mask(mdata).groupby(mdata.obs["batch"].astype(str)).mean()
    assert measured["rna"].to_dict() == {"p1_0": 1, "p2_0": 0, "p3_0": 1, "p4_0": 1}
    assert measured["protein"].to_dict() == {"p1_0": 0, "p2_0": 1, "p3_0": 1, "p4_0": 1}
    assert mdata.obs["celltype"].value_counts().to_dict()["CD4 T"] == 506
    assert all(name.startswith("protein:") for name in mdata.mod["protein"].var_names)


def test_setup_with_explicit_keys_overrides_the_registered_ones(load) -> None:
    mdata = contract.subset(load("pbmc_mosaic"), slice(None))
    ofm.setup(mdata, batch_key="celltype", label_key="batch")
    assert (contract.keys(mdata).batch, contract.keys(mdata).label) == ("celltype", "batch")
    assert contract.recipe_of(mdata, "protein") == "protein"


def test_the_matrices_are_the_published_ones(load) -> None:
    """Names, order and values are those of the files, read here without the package."""
    folder = data_dir()
    if folder is None:
        pytest.skip("needs the files themselves")
    mop = load("mop_snareseq_mouse_cortex")
    base = folder / "mop_snareseq_mouse_cortex"
    published = sp.load_npz(base / "RxC1.npz").T.tocsr()
    assert (mop.mod["atac"].X != published).nnz == 0
    assert mop.mod["atac"].var_names[0] == "chr1:4914570-4914685"
    assert list(mop.mod["atac"].var.iloc[0][["chrom", "start", "end"]]) == ["chr1", 4914570, 4914685]
    assert mop.mod["rna"].var_names[0] == "0610040J01Rik"
    assert mop.obs["batch"].nunique() == 12
    assert (mop.obs["celltype"] == "Mis").sum() == 1119
    assert (mop.obs_names.str[:3] == mop.obs["batch"].astype(str)).all()


def test_two_panels_are_joined_without_zeros_being_measurements(load) -> None:
    mdata = load("pbmc_cite_scvi")
    table = mdata.mod["protein"].varm["measured"]
    assert table.sum().to_dict() == {"5k": 29, "10k": 14}
    assert int(table.all(axis=1).sum()) == 14
    measured = contract.measured(mdata, "protein")
    assert measured.shape == (400, 29)
    assert measured.sum() == 200 * 29 + 200 * 14
    assert contract.measured(mdata, "rna").sum() == 200 * 16581 + 200 * 16727
    folder = data_dir()
    if folder is not None:
        source = _compat.read_h5ad(folder / "pbmc_cite_scvi" / "pbmc_10k_protein_v3.h5ad")
        cells = source.obs_names + "_10k"
        names = [f"protein:{n.removesuffix('_TotalSeqB')}" for n in source.uns["protein_names"]]
        assert np.array_equal(mdata.mod["protein"][cells, names].X.toarray(), source.obsm["protein_expression"])
        assert np.array_equal(mdata.mod["rna"][cells, source.var_names].X.toarray(), source.X)


def test_labels_of_pbmc3k_belong_to_their_cells(load) -> None:
    mdata = load("pbmc3k_singlet")
    rna = mdata.mod["rna"]
    assert (rna.X.nnz, rna.X.sum()) == (2_282_976, 6_386_518)
    assert mdata.obs["cell_type"].isna().sum() == 62
    for gene, kind in [("CD79A", "B"), ("NKG7", "NK"), ("PPBP", "Platelet")]:
        mean = rna[:, gene].to_df()[gene].groupby(mdata.obs["cell_type"].astype(str)).mean()
        assert mean.idxmax() == kind


def test_pbmc68k_counts_are_recovered(load) -> None:
    mdata = load("pbmc68k_reduced")
    rna = mdata.mod["rna"]
    again = np.log1p(rna.layers["counts"].toarray() * 1e4 / mdata.obs["n_counts"].to_numpy()[:, None])
    assert np.abs(again - rna.X.toarray()).max() < 5e-3
    assert rna.X.min() == 0 and not np.array_equal(rna.X.data, np.rint(rna.X.data))


def test_gaps_of_cll_are_kept(load) -> None:
    mdata = load("cll_mofa")
    assert contract.modality_mask(mdata).all(axis=1).sum() == 121
    assert np.isnan(mdata.mod["Mutations"].X).sum() == 4659


def test_perturbations_know_their_controls(load) -> None:
    mdata = load("papalexi21_thp1_eccite_sceptredata")
    guides = mdata.mod["guide"].var
    assert guides["is_control"].sum() == 9
    assert set(guides.loc[guides["is_control"], "target"]) == {"non-targeting"}
    assert mdata.obs["is_control"].sum() == 2386
    assert load("norman19").obs["is_control"].sum() == 100
    assert load("kang18_ifnb_distinct100").obs["is_control"].sum() == 4810


PERTURBED = {  # context, replicate and number of targets
    "papalexi21_thp1_eccite_sceptredata": (None, "bio_rep", 25),
    "norman19": (None, None, 31),
    "mcfaline23": ("cell_type", None, 9),
    "kang18_ifnb_harmony": ("cell_type", None, 1),
    "kang18_ifnb_distinct100": ("cell_type", "donor", 1),
}


@pytest.mark.parametrize("name", PERTURBED)
def test_perturbations_come_with_context_replicate_and_guides(name: str, load) -> None:
    mdata = load(name)
    context, replicate, n_targets = PERTURBED[name]
    keys, told = contract.keys(mdata), contract.perturbations(mdata)
    assert (keys.context, keys.replicate) == (context, replicate)
    assert np.array_equal(told["is_control"], mdata.obs["is_control"])
    assert set(told["context"]) == ({"all"} if context is None else set(mdata.obs[context].astype(str)))
    members = {part for found in told["perturbation"].dropna().unique() for part in contract.members(found)}
    assert len(members) == n_targets
    var = mdata.mod["guide"].var
    assert members <= set(var["target"])
    controls = np.asarray(mdata.mod["guide"].X[:, var["is_control"].to_numpy()].sum(axis=1)).ravel() > 0
    assert controls[mdata.obs["is_control"]].all()


def test_effects_without_controls_have_a_context_and_no_guides(load) -> None:
    mdata = load("replogle22_k562_rpe1_sigrecon")
    assert contract.guide_modality(mdata) is None and contract.control_of(mdata) is None
    assert contract.perturbations(mdata)["context"].value_counts().to_dict() == {"K562": 585, "RPE1": 585}


def test_a_dose_stays_a_number(load, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = load("kang18_ifnb_harmony").mod["rna"].copy()
    raw.obs = pd.DataFrame({"drug": ["veh", "x"] * 1000, "nM": np.tile([0.0, 2.5], 1000)}, index=raw.obs_names)
    entry = datasets.info("kang18_ifnb_harmony").model_copy(
        update={"keys": DataKeys(perturbation="drug", dose="nM"), "control": "veh"}
    )
    monkeypatch.setattr(_load, "fetch_entry", lambda *_, **__: {})
    monkeypatch.setitem(_load.READERS, entry.loader, lambda *_: _compat.make_mudata({"rna": raw}, raw.obs[[]]))
    mdata = _load.load_entry(entry)
    assert mdata.obs["nM"].dtype == np.float64
    assert mdata.mod["guide"][:, "guide:x"].X.max() == 2.5
    assert contract.recipe_of(mdata, "guide") == "continuous"


@pytest.mark.parametrize(
    "entry", [e for e in datasets.registry().datasets if e.loader == "files"], ids=lambda e: e.name
)
def test_what_is_no_mudata_is_fetched_not_loaded(entry: datasets.Entry) -> None:
    with pytest.raises(InputError, match=rf"datasets\.fetch\('{entry.name}'\) returns the paths"):
        datasets.load(entry.name)


def test_the_data_folder_holds_what_the_registry_says() -> None:
    if data_dir() is None:
        pytest.skip("there is no data folder on this machine")
    wrong = [status for status in datasets.verify(progress=False) if status.status == "altered"]
    assert not wrong
    told = {
        (e.name, f.name)
        for e in datasets.registry().datasets
        for f in e.files
        if any(s.kind == "file" for s in f.sources)
    }
    found = {(status.dataset, status.file) for status in datasets.verify(progress=False) if status.status == "ok"}
    assert told <= found
