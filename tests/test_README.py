"""Promises of the README and its pages: links, numbers, and the programs behind the numbers."""
import re
from pathlib import Path

repository = Path(__file__).parents[1]
readme = (repository / "README.md").read_text(encoding="utf-8")
results = (repository / "tests" / "results.md").read_text(encoding="utf-8")


def test_the_linked_files_and_headings_exist():
    for page in [*repository.glob("*.md"), *repository.glob(".github/*.md"),
                 repository / "tests" / "results.md"]:
        text = page.read_text(encoding="utf-8")
        for file, heading in re.findall(r"\]\((?!http)([\w./-]*)#?([\w-]*)\)", text):
            target = page.parent / file if file else page
            assert target.exists(), (page, file)
            if heading:
                headings = re.findall("^#+ (.*)", target.read_text(encoding="utf-8"), re.MULTILINE)
                assert heading in [one.lower().replace(" ", "-") for one in headings], heading


def test_the_numbers_and_printed_lines_of_the_readme_are_those_of_the_results():
    for name in ("Training mode", "Evaluation mode", "Learning rate"):
        bullet = re.compile(rf"\*\*{name}\.\*\* .*")
        in_readme = re.findall(r"([\d.]+) %", bullet.search(readme)[0])
        in_results = re.findall(r"([\d.]+) %", bullet.search(results)[0])[:2]
        assert in_readme == [f"{float(number):.1f}" for number in in_results]
    for line in re.findall(r"^(?:Completed|Accuracy|\[\d|For epoch|Real|Pred).*", readme, re.M):
        assert line in results.splitlines(), line


def test_claims_and_benchmark_print_their_tables(run, training, cifar):
    claims = run("tests/claims.py", "--seeds", "1", "--epochs", "2")
    for row in ("as_published", "as_fixed", "as_published, seed 0", "as_fixed, seed 0"):
        assert re.search(rf"^\| {row} (\| \d+\.\d\d )+\|$", claims.printed, re.MULTILINE), row
    claims.run("DataClassifier.py", claims.as_fixed, ".", "--epochs", 1)
    first, second = [run(Path.cwd() / "DataClassifier.py", "--seed", seed) for seed in "12"]
    assert first.test_set.indices != second.test_set.indices  # each seed has its own split
    text = claims.as_published((repository / "PyTorchTraining.py").read_text())
    assert [text.count("model.train()"), text.count("model.eval()")] == [2, 1]
    assert "lr=0.001" in claims.as_published((repository / "DataClassifier.py").read_text())
    assert "as published" in Path("accuracy.svg").read_text()
    benchmark = run("tests/benchmark.py", "--rounds", "1", "--steps", "5").printed
    assert re.search(r"^\| an epoch \| \d+\.\d \| \d+\.\d \| \d+\.\d\d \(", benchmark, re.MULTILINE)
