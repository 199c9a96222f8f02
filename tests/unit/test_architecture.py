"""The house's laws, held against the source itself."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from data_store.settings import DataStoreSettings
from document_api.settings import DocumentApiSettings
from observability import context, signals
from observability.context import API_KEY_INSIDE, CLIENT_ID_PATTERN
from observability.database import TENANT_SETTING
from observability.service import ServiceSettings

ROOT: Final = Path(__file__).parents[2]
SERVICES: Final = ("document_api", "data_store")
PACKAGES: Final = (*SERVICES, "access", "observability", "telemetry_queries")
# What asks the back ends; the rest of telemetry_queries is data.
ASKING: Final = tuple(
    f"telemetry_queries.{name}" for name in ("jaeger", "prometheus", "loki", "victorialogs", "log_store")
)
BUSINESS: Final = ("local_stack", "docker_stack", "observability_checks", "benchmarks", "tests")


def modules(package: str) -> list[Path]:
    """Return every source file of a package; none would make each law hold."""
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, package
    return found


def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> Iterator[str]:
    """Yield the names of the modules that a file imports."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offenders(package: str, *forbidden: str) -> list[str]:
    """Return the imports of a package that lie below one of the forbidden modules."""
    return [
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules(package)
        for name in imports(path)
        if any(name == module or name.startswith(f"{module}.") for module in forbidden)
    ]


def docstrings(tree: ast.Module) -> set[int]:
    """Return the identities of the nodes that are docstrings or belong to annotations' text."""
    return {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }


def test_services_do_not_import_each_other() -> None:
    """They speak HTTP, and are deployed apart."""
    assert offenders("document_api", "data_store") == []
    assert offenders("data_store", "document_api") == []


def test_observability_imports_no_service() -> None:
    """It is shared: it takes arguments."""
    assert offenders("observability", *SERVICES, "access") == []


def test_what_reads_telemetry_imports_no_service() -> None:
    """It is shared: it is given clients and addresses."""
    assert offenders("telemetry_queries", *SERVICES, "access", *BUSINESS) == []


def test_access_imports_no_service() -> None:
    """It is shared: who may do what stands in one place."""
    assert offenders("access", *SERVICES) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_deployed_imports_nothing_of_the_workshop(package: str) -> None:
    """Images hold the services and observability alone."""
    assert offenders(package, *BUSINESS) == []


@pytest.mark.parametrize("service", [*SERVICES, "access"])
def test_services_use_the_otel_api_only(service: str) -> None:
    """SDK, exporters, propagators and instrumentations are the business of observability."""
    forbidden = ("sdk", "exporter", "instrumentation", "propagators", "propagate", "proto")
    assert offenders(service, *(f"opentelemetry.{name}" for name in forbidden)) == []


def module_name(path: Path) -> str:
    """Return the name under which a file is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_module_that_is_shared_is_used_by_a_service() -> None:
    """What only the checks and the tests read is theirs: it would be dead weight in each image."""
    files = {module_name(path): path for package in PACKAGES for path in modules(package)}
    used = {name for name in files if name.startswith(SERVICES)}
    found = used
    while found:
        found = {name for module in found for name in imports(files[module]) if name in files} - used
        used |= found
    used |= {name.rpartition(".")[0] for name in used}  # importing a module imports its package
    assert files.keys() - used == set()


def test_the_contract_is_data() -> None:
    """It takes its names from observability.signals, and needs nothing that asks or sends."""
    assert {
        name.split(".")[1]
        for path in modules("observability_checks/contract")
        for name in imports(path)
        if name.startswith("observability.")
    } == {"signals"}
    assert offenders("observability_checks/contract", "httpx", "rich", *ASKING) == []


def test_nothing_is_a_base_http_middleware() -> None:
    """Middleware is plain ASGI."""
    for package in PACKAGES:
        assert offenders(package, "starlette.middleware.base", "fastapi.middleware") == []


def distinctive_names() -> set[str]:
    """Return the names of spans, metrics and attributes that cannot be anything else."""
    metrics = {name for metric in signals.METRICS for name in (metric.name, metric.prometheus_name)}
    # `file_size`, `client_id` and the like are fields of documents, too.
    attributes = {attribute.value for attribute in signals.Attribute if "." in attribute.value}
    return {span.value for span in signals.Span} | metrics | attributes


# Names of routes' functions and paths that happen to be the name of a step.
NOT_SIGNALS: Final = frozenset({"summaries"})


@pytest.mark.parametrize("package", [*PACKAGES, "observability_checks/contract"])
def test_names_of_signals_stand_in_signals_only(package: str) -> None:
    """A name typed twice is a dashboard that breaks in silence."""
    names = distinctive_names() - NOT_SIGNALS
    for path in modules(package):
        if path.name == "signals.py":
            continue
        tree = parsed(path)
        skipped = docstrings(tree)
        literals = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped
        }
        assert literals & names == set(), path


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_is_printed(package: str) -> None:
    """Services log."""
    for path in modules(package):
        for node in ast.walk(parsed(path)):
            assert not (isinstance(node, ast.Name) and node.id in {"print", "pprint"}), (
                f"{path}:{node.lineno}"
            )


def environment_uses(path: Path) -> list[ast.AST]:
    """Return the places where a file touches the environment."""
    return [
        node
        for node in ast.walk(parsed(path))
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "putenv", "environb"})
        or (isinstance(node, ast.ImportFrom) and node.module == "os")
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_environment_is_read_by_settings_only(package: str) -> None:
    """One place sets and reads OTEL_* variables, one keeps gRPC out of forks; nothing else touches the environment."""
    uses = {path.name: environment_uses(path) for path in modules(package)}
    used = [name for name, found in uses.items() if found]
    assert used == (["__init__.py", "telemetry.py"] if package == "observability" else [])


def test_that_one_place_sets_defaults_of_otel_variables() -> None:
    """And reads no other."""
    path = ROOT / "observability" / "telemetry.py"
    uses = {
        ast.unparse(node)
        for node in ast.walk(parsed(path))
        if (isinstance(node, ast.Call) and ast.unparse(node.func) == "os.environ.get")
        or (isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ")
    }
    assert uses == {
        "os.environ.get(name)",
        "os.environ[name]",
        "os.environ.get('OTEL_SDK_DISABLED', '')",
        "os.environ[variable]",
    }
    (defaults,) = [
        node.value
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_DEFAULTS"
    ]
    assert isinstance(defaults, ast.Dict)
    assert all(str(ast.literal_eval(key)).startswith("OTEL_") for key in defaults.keys if key)


@pytest.mark.parametrize("settings", [DocumentApiSettings, DataStoreSettings])
def test_every_setting_is_described_and_frozen(settings: type[ServiceSettings]) -> None:
    """The documentation is made of these, and configuration is read once."""
    undescribed = [name for name, field in settings.model_fields.items() if not field.description]
    assert undescribed == []
    assert settings.model_config["frozen"]


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_happens_at_import(package: str) -> None:
    """Modules define; only a shell, under its guard, a migration, and what must come before gRPC call anything for its effect."""
    allowed = {ROOT / "data_store" / "migrations" / "env.py", ROOT / "observability" / "__init__.py"}
    for path in modules(package):
        effects = [
            ast.unparse(node)
            for node in parsed(path).body
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        ]
        assert path in allowed or effects == [], path


def test_the_client_between_the_services_is_made_in_one_place() -> None:
    """docs/adr/0008: httpx asks the model, whose answers take seconds, and the back ends, whose readers are few."""

    def users(library: str) -> set[str]:
        return {path.name for path in modules("document_api") if library in set(imports(path))}

    assert users("aiohttp") == {"http.py"}
    assert users("httpx") == {"chat.py", "reader.py"}


def test_the_tenants_policies_ask_for_the_setting_that_statements_set() -> None:
    """Under another name it would be set for nothing, and nobody would find a row."""
    versions = ROOT / "data_store" / "migrations" / "versions"
    asked = {
        name
        for migration in versions.glob("*.py")
        for name in re.findall(r"current_setting\('([^']+)'", migration.read_text())
    }
    assert asked == {TENANT_SETTING}


def test_the_rules_for_ids_are_the_same_at_the_edge_in_the_services_and_in_the_database() -> None:
    """nginx, the services, the tables and their migration each have to say them in their own language."""
    edge = (ROOT / "nginx" / "templates" / "robin.conf.template").read_text()
    schema = (ROOT / "data_store" / "records" / "models.py").read_text()
    migration = (
        ROOT / "data_store" / "migrations" / "versions" / "0001_clients_users_documents.py"
    ).read_text()
    client_id = CLIENT_ID_PATTERN.strip("^$")

    assert f"/clients/{client_id}/" in edge
    assert edge.count(client_id) == edge.count("[A-Za-z0-9][") == 2
    assert edge.count(f'"~*^[^?]*{API_KEY_INSIDE}"') == 2
    assert f"'^{client_id}$'" in schema
    assert f"'^{client_id}$'" in migration
    assert f'"~^{context._UUID4.pattern}' + r'\z"' in edge
