"""The `testbed` command."""

import os
import shlex
import shutil
from collections.abc import Callable
from functools import wraps
from typing import Annotated, ParamSpec

import typer
from rich.console import Console
from rich.table import Table

from axon_testbed import backends, cluster, docker, enforcement, images, node, pins
from axon_testbed import tools as programs
from axon_testbed.cluster import Cluster
from axon_testbed.docker import Daemon
from axon_testbed.errors import BedError
from axon_testbed.layout import Layout
from axon_testbed.lock import exclusive
from axon_testbed.progress import say, step

app = typer.Typer(
    help="A real cluster with OpenBao and Keycloak, for the demo and the tests.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_IMAGES = (
    pins.BUSYBOX_IMAGE,
    pins.PYTHON_IMAGE,
    pins.OPENBAO_IMAGE,
    pins.POSTGRES_IMAGE,
    pins.KEYCLOAK_IMAGE,
    pins.ENVOY_IMAGE,
)

Parameters = ParamSpec("Parameters")


def _command(function: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Makes a function a command whose expected errors end it with a message instead of a trace."""

    @wraps(function)
    def guarded(*arguments: Parameters.args, **options: Parameters.kwargs) -> None:
        try:
            function(*arguments, **options)
        except BedError as error:
            say(f"testbed: {error}")
            raise typer.Exit(1) from None

    return app.command()(guarded)


@_command
def up(
    existing: Annotated[
        bool, typer.Option("--existing", help="Use the cluster of KUBECONFIG (also: AXON_TESTBED=existing).")
    ] = False,
) -> None:
    """Bring up the cluster with OpenBao, Keycloak and the operator's image. Run again, it does what is missing."""
    layout = Layout.from_environment()
    with step("test bed up"), exclusive(layout):
        _client_tools(layout)
        bed = _existing(layout) if existing or _wants_existing() else _kind(layout)
        backends.deploy(bed)
        enforcement.prove(bed)
        cluster.wait_for_system(bed)
        backends.wait(bed)
    say(f'kubeconfig: {bed.kubeconfig}    (for a shell: eval "$(uv run testbed env)")')


def _client_tools(layout: Layout) -> None:
    for tool in programs.CLIENT_TOOLS:
        programs.build_go(layout, tool)


def _wants_existing() -> bool:
    return os.environ.get("AXON_TESTBED") == "existing"


def _existing(layout: Layout) -> Cluster:
    bed = cluster.existing(layout)
    say(f"cluster: the existing one of {bed.kubeconfig}, as asked")
    say(f"images: the cluster must have or be able to pull {', '.join((*_IMAGES, pins.OPERATOR_IMAGE))}")
    return bed


def _kind(layout: Layout) -> Cluster:
    daemon = docker.ensure(layout)
    node.ensure_image(layout, daemon)
    wanted = {name: images.obtain(layout, daemon, name) for name in _IMAGES}
    wanted[pins.OPERATOR_IMAGE] = images.build_operator(layout, daemon)
    bed = cluster.ensure(layout, daemon)
    cluster.load(daemon, wanted)
    return bed


@_command
def down(
    purge: Annotated[bool, typer.Option("--purge", help="Delete the cache folder too.")] = False,
) -> None:
    """Delete the cluster and stop what `up` started. Caches stay."""
    layout = Layout.from_environment()
    daemon = docker.find(layout)
    if daemon is not None:
        cluster.delete(layout, daemon)
        docker.remove_network(daemon)
    docker.stop_private(layout)
    images.forget_choices(layout)
    if purge and layout.cache.exists():
        with step(f"delete {layout.cache}"):
            docker.release_mounts(layout.cache)
            shutil.rmtree(layout.cache)


@_command
def status() -> None:
    """Show what runs."""
    layout = Layout.from_environment()
    table = Table("Part", "State", box=None)
    daemon = docker.find(layout)
    table.add_row("docker", "does not answer" if daemon is None else (daemon.host or "the user's daemon"))
    bed = Cluster(layout, layout.kubeconfig)
    running = (layout.bin / "kubectl").exists() and layout.kubeconfig.exists() and bed.answers()
    table.add_row("cluster", f"ready, kubeconfig {layout.kubeconfig}" if running else "does not answer")
    if running:
        for name, state in backends.states(bed).items():
            table.add_row(name, state)
    Console().print(table)
    if not running:
        raise typer.Exit(1)


@_command
def tools() -> None:
    """Build the programs that need no cluster: kubectl, helm and kind."""
    layout = Layout.from_environment()
    with exclusive(layout):
        _client_tools(layout)


@_command
def load_image(names: Annotated[list[str], typer.Argument(metavar="IMAGE...")]) -> None:
    """Load images of the local Docker daemon into the cluster."""
    daemon = _running_daemon(Layout.from_environment())
    missing = [name for name in names if daemon.image_id(name) is None]
    if missing:
        raise BedError(f"The Docker daemon has no image {', '.join(missing)}. Build or pull it first.")
    cluster.load(daemon, {name: images.present(daemon, name) for name in names})


@_command
def build_operator() -> None:
    """Build the operator's image from the working tree and load it into the cluster."""
    layout = Layout.from_environment()
    daemon = _running_daemon(layout)
    with exclusive(layout):
        cluster.load(daemon, {pins.OPERATOR_IMAGE: images.build_operator(layout, daemon)})


def _running_daemon(layout: Layout) -> Daemon:
    daemon = docker.find(layout)
    if daemon is None:
        raise BedError("No Docker daemon answers. Run: uv run testbed up")
    return daemon


@_command
def env() -> None:
    """Print export lines for a shell: eval "$(uv run testbed env)"."""
    layout = Layout.from_environment()
    daemon = docker.find(layout)
    bed = cluster.existing(layout) if _wants_existing() else cluster.kind(layout)
    print(f"export KUBECONFIG={shlex.quote(str(bed.kubeconfig))}")
    print(f'export PATH={shlex.quote(str(layout.bin))}:"$PATH"')
    if daemon is not None and daemon.host is not None:
        print(f"export DOCKER_HOST={shlex.quote(daemon.host)}")
