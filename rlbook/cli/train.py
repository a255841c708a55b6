"""`rlbook train`: an agent learns, and what came of it stays in a run folder."""

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
        str | None, typer.Option(metavar="NAME", help="What learns: see `rlbook list algos`.")
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The world: see `rlbook list envs`. For module:Name-v0, the module is imported.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            parser=names.whole,
            metavar="N",
            help=f"Steps in all, all environments together.{unless_told(STEPS)}",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            parser=names.whole, metavar="N", help=f"Of everything random.{unless_told(0)}"
        ),
    ] = None,
    num_envs: Annotated[
        int | None,
        typer.Option(
            parser=names.whole,
            metavar="N",
            help="Environments that learn side by side." + unless_told("1; 8 with a network"),
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A hyperparameter: see `rlbook list --algo NAME`. May be repeated.",
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=WHERE,
            help=f"See `rlbook list backends`.{unless_told('local')}",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            parser=names.whole,
            metavar="N",
            rich_help_panel=WHERE,
            help=f"How many share the environments.{unless_told(1)}",
        ),
    ] = None,
    asynchronous: Annotated[
        bool | None,
        typer.Option(
            "--asynchronous",
            rich_help_panel=WHERE,
            help="No worker waits for another: they share one table. Not repeatable to the bit.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            rich_help_panel=FOLDER,
            help=f"Where to keep the run.{unless_told('runs/ALGO-ENV-SEED')}",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            rich_help_panel=FOLDER,
            help="Go on with this run, until it has all its steps. A larger --steps is its new "
            "total; --backend and --workers may change.",
        ),
    ] = None,
    checkpoint_every: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", rich_help_panel=FOLDER, help="How often the agent is saved."
        ),
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Train an agent and keep it in a run folder.

    Ctrl-C ends the round, saves, and says how to go on; a second one ends
    it at once. A run that was stopped and resumed gives the very numbers
    of one that never stopped, whatever the backend and the workers.
    """
    for option, number in (("--steps", steps), ("--num-envs", num_envs), ("--workers", workers)):
        if number is not None:
            with in_one_line():
                check_whole(option, number, 1)
    if resume is not None:
        fixed = {"--algo": algo, "--seed": seed, "--num-envs": num_envs, "--set": settings}
        _check_left_out({**fixed, "--asynchronous": asynchronous, "--out": out})
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
            asynchronous=bool(asynchronous),
            steps=steps or STEPS,
            hyperparameters=names.parse_settings(algo, settings or []),
        )
        run, agent = _begin(config, out)
    run.note(context.obj)
    raise typer.Exit(learning.learn(run, agent, checkpoint_every, as_json))


def _begin(config: runs.Config, out: Path | None) -> tuple[runs.Run, Any]:
    """A new agent and its run folder, which is not made before all that was typed is right."""
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
            asynchronous=config.asynchronous,
            **config.hyperparameters,
        )
    settings = {name: names.as_typed(value) for name, value in vars(agent.settings).items()}
    return runs.Run.create(replace(config, hyperparameters=settings), out), agent


def _go_on(
    path: Path, env: str | None, steps: int | None, backend: str | None, workers: int | None
) -> tuple[runs.Run, Any]:
    """The run in a folder, and its agent as it was saved last."""
    run = runs.Run.open(path)
    config = run.config
    if env is not None:
        if env != config.env:
            raise UserError(f"--env cannot change in a run that goes on: it is {config.env}")
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
            f"--steps={steps} is not allowed: this run has taken {agent.timesteps} already"
        )
    for change in run.changed_versions():
        console(stderr=True).print(f"note: {change}, so numbers may differ from now on")
    return run, agent


def _check_left_out(options: dict[str, object]) -> None:
    for option, given in options.items():
        if given is not None:
            raise UserError(f"{option} cannot change in a run that goes on: leave it out")


def _check_where(config: runs.Config) -> None:
    names.backend(config.backend)
    if config.workers > config.num_envs:
        raise UserError(
            f"--workers={config.workers} is not allowed: they share the environments, "
            f"of which there are --num-envs={config.num_envs}"
        )
