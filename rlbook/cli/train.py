"""`rlbook train`: train an agent and save it in a run folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from rlbook.arguments import check_whole
from rlbook.cli import learning, names, runs
from rlbook.cli.errors import UserError, in_one_line
from rlbook.cli.output import AsJson, console, unless_told, waiting

STEPS = 200_000
WHERE, FOLDER = "Where it runs", "Run folder"


def train(
    context: typer.Context,
    algo: Annotated[
        str | None, typer.Option(metavar="NAME", help="Algorithm (see `rlbook list algos`).")
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Environment id (see `rlbook list envs`); module:Name-v0 imports the module.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            parser=names.whole,
            metavar="N",
            help=f"Total number of environment steps.{unless_told(STEPS)}",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            parser=names.whole, metavar="N", help=f"Seed of all random streams.{unless_told(0)}"
        ),
    ] = None,
    num_envs: Annotated[
        int | None,
        typer.Option(
            parser=names.whole,
            metavar="N",
            help="Number of environments." + unless_told("1; 8 with a neural network"),
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Hyperparameter (see `rlbook list --algo NAME`). Can be repeated.",
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=WHERE,
            help=f"Backend (see `rlbook list backends`).{unless_told('local')}",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            parser=names.whole,
            metavar="N",
            rich_help_panel=WHERE,
            help=f"Number of workers, which share the environments.{unless_told(1)}",
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=WHERE,
            help="How workers and learner exchange work."
            + unless_told("averaged_tables; synchronous with a neural network"),
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            rich_help_panel=FOLDER,
            help=f"Run folder to create.{unless_told('runs/ALGO-ENV-SEED')}",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            rich_help_panel=FOLDER,
            help="Resume this run until it has taken all its steps. --steps can raise the total; "
            "--backend and --workers can change.",
        ),
    ] = None,
    checkpoint_every: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", rich_help_panel=FOLDER, help="Seconds between checkpoints."
        ),
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Train an agent and save it in a run folder.

    Ctrl-C completes the current round, saves the agent and shows how to
    resume the run; a second Ctrl-C stops at once. A run that was stopped
    and resumed gives the same numbers as one that was not, whatever the
    backend and the number of workers.
    """
    for option, number in (("--steps", steps), ("--num-envs", num_envs), ("--workers", workers)):
        if number is not None:
            with in_one_line():
                check_whole(option, number, 1)
    if resume is not None:
        fixed = {"--algo": algo, "--seed": seed, "--num-envs": num_envs, "--set": settings}
        _check_left_out({**fixed, "--pattern": pattern, "--out": out})
        run, agent = _go_on(resume, env, steps, backend, workers)
    elif algo is None or env is None:
        missing = "--algo" if algo is None else "--env"
        raise UserError(f"{missing} is missing: try --algo q_learning --env rlbook/FrozenLake-v0")
    else:
        config = runs.Config(
            algo=algo,
            env=env,
            seed=seed or 0,
            num_envs=num_envs or names.default(names.algorithm(algo), "num_envs"),
            backend=backend or "local",
            workers=workers or 1,
            pattern=pattern or names.default(names.algorithm(algo), "pattern"),
            steps=steps or STEPS,
            hyperparameters=names.parse_settings(algo, settings or []),
        )
        run, agent = _begin(config, out)
    run.note(context.obj)
    raise typer.Exit(learning.learn(run, agent, checkpoint_every, as_json))


def _begin(config: runs.Config, out: Path | None) -> tuple[runs.Run, Any]:
    """Return a new run and its agent. The folder is made only after all arguments are checked."""
    cls = names.algorithm(config.algo)
    names.environment(config.env)
    _check_where(config)
    with in_one_line(), waiting(f"starting {config.backend} …"):
        agent = cls(
            config.env,
            seed=config.seed,
            num_envs=config.num_envs,
            backend=config.backend,
            workers=config.workers,
            pattern=config.pattern,
            **config.hyperparameters,
        )
    settings = {name: names.as_typed(value) for name, value in vars(agent.settings).items()}
    return runs.Run.create(replace(config, hyperparameters=settings), out), agent


def _go_on(
    path: Path, env: str | None, steps: int | None, backend: str | None, workers: int | None
) -> tuple[runs.Run, Any]:
    """Return the run in a folder, and its agent from the last checkpoint."""
    run = runs.Run.open(path)
    config = run.config
    if env is not None:
        if env != config.env:
            raise UserError(f"--env cannot change when a run is resumed: it is {config.env}")
        names.environment(env)
    run.config = config = replace(
        config,
        steps=steps or config.steps,
        backend=backend or config.backend,
        workers=workers or config.workers,
    )
    _check_where(config)
    with waiting(f"starting {config.backend} …"):
        agent = runs.find(path).load(env, backend=config.backend, workers=config.workers)
    if steps is not None and steps < agent.timesteps:
        raise UserError(
            f"--steps must be at least {agent.timesteps}, the steps taken so far, got {steps}"
        )
    for change in run.changed_versions():
        console(stderr=True).print(f"note: {change}, so results may differ from now on")
    return run, agent


def _check_left_out(options: dict[str, object]) -> None:
    for option, given in options.items():
        if given is not None:
            raise UserError(f"{option} cannot change when a run is resumed: leave it out")


def _check_where(config: runs.Config) -> None:
    names.backend(config.backend)
    names.pattern(names.algorithm(config.algo), config.pattern)
    if config.workers > config.num_envs:
        raise UserError(
            f"--workers must be at most the number of environments, --num-envs={config.num_envs}, "
            f"got {config.workers}"
        )
