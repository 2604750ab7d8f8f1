"""OllamaServer against our model server, and against servers that behave badly."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from hotset.errors import (
    GenerationFailed,
    HotsetError,
    ModelNotFound,
    ModelServerUnavailable,
    ModelTooLarge,
)
from hotset.fleet import Fleet, Gpu, Model
from hotset.models import Chunk, Generation, ModelServer, OllamaServer, Prompt
from hotset.models.generation import OllamaGeneration
from hotset.modelserver import serving

FLEET = Fleet(
    gpus=(Gpu("gpu0", vram_mb=3686, slots=2),),
    models={
        "tinyllama": Model("tinyllama", 800, 2.0),
        "deepseek-r1:8b": Model("deepseek-r1:8b", 3200, 6.0),
        "huge": Model("huge", 8000, 1.0),
    },
    queues={},
)
SCALE = 0.02


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(FLEET, "gpu0", scale=SCALE) as address:
        yield address


@pytest.fixture
def server(url: str) -> Iterator[OllamaServer]:
    with OllamaServer(url) as client:
        yield client


def start(
    server: OllamaServer, model: str = "tinyllama", *, first_s: float = 5.0, stall_s: float = 5.0, **options: object
) -> OllamaGeneration:
    prompt = Prompt(model, "hello", options=options)
    return server.generate(prompt, first_token_timeout_s=first_s, stall_timeout_s=stall_s)


def failure(generation: Generation) -> HotsetError:
    with pytest.raises(HotsetError) as caught:
        list(generation)
    return caught.value


def test_it_is_a_model_server(server: OllamaServer) -> None:
    as_protocol: ModelServer = server
    assert as_protocol.info().simulated is True
    assert set(as_protocol.info().models) == set(FLEET.models)


def test_load_and_unload(server: OllamaServer) -> None:
    server.load("deepseek-r1:8b", {"num_ctx": 2048}, timeout_s=5)
    (loaded,) = server.resident()
    assert (loaded.model, loaded.size_mb, loaded.vram_mb) == ("deepseek-r1:8b", 3200.0, 3200.0)
    server.load("tinyllama:latest", {}, timeout_s=5)
    assert [loaded.model for loaded in server.resident()] == ["tinyllama"], "names are canonical"
    server.unload("tinyllama:latest", timeout_s=5)
    assert server.resident() == ()
    server.unload("tinyllama", timeout_s=5)  # again does no harm


def test_unload_waits_for_what_runs_and_says_when_it_gives_up(server: OllamaServer) -> None:
    running = start(server, hotset_run_s=20.0)
    next(iter(running))
    with pytest.raises(GenerationFailed, match="still loaded"):
        server.unload("tinyllama", timeout_s=0.05)
    server.unload("tinyllama", timeout_s=5)
    assert server.resident() == ()
    assert list(running)[-1].done


def test_a_generation_streams_chunks_and_ends_with_usage(server: OllamaServer) -> None:
    chunks = list(start(server, hotset_run_s=5.0, num_predict=100))
    assert "".join(chunk.text for chunk in chunks).startswith("[simulated]")
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    last = chunks[-1]
    assert last.done_reason == "length" and last.usage is not None
    assert last.usage.output_tokens == 100
    assert last.usage.eval_ms == pytest.approx(5.0 * SCALE * 1000, rel=0.25)
    assert last.usage.total_ms >= last.usage.eval_ms


def test_thinking_is_apart(server: OllamaServer) -> None:
    chunks = list(start(server, "deepseek-r1:8b", num_predict=50))
    assert "".join(chunk.thinking for chunk in chunks).startswith("[simulated]")
    assert not any(chunk.thinking and chunk.text for chunk in chunks)


def test_a_system_prompt_is_sent(server: OllamaServer) -> None:
    prompts = [Prompt("tinyllama", "hi"), Prompt("tinyllama", "hi", system="Be a very brief and polite assistant.")]
    used = [list(server.generate(p, first_token_timeout_s=5, stall_timeout_s=5))[-1].usage for p in prompts]
    assert used[0] and used[1] and used[0].prompt_tokens < used[1].prompt_tokens


def test_generations_keep_their_model(server: OllamaServer) -> None:
    list(start(server, num_predict=2))
    assert "tinyllama" in {loaded.model for loaded in server.resident()}


def test_connections_are_used_again(server: OllamaServer) -> None:
    for _ in range(3):
        list(start(server, num_predict=2))
    with server._lanes._lock:
        assert len(server._lanes._idle) == 1


def test_many_threads_share_one_client(server: OllamaServer) -> None:
    done: list[Chunk] = []

    def work() -> None:
        for _ in range(5):
            done.append(list(start(server, hotset_run_s=0.2))[-1])

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 60 and all(chunk.done for chunk in done)


# Refusals


def test_an_unknown_model(server: OllamaServer) -> None:
    assert isinstance(failure(start(server, "no-such-model")), ModelNotFound)
    with pytest.raises(ModelNotFound):
        server.load("no-such-model", {}, timeout_s=5)
    with pytest.raises(ModelNotFound):
        server.unload("no-such-model", timeout_s=5)


def test_a_model_too_large(server: OllamaServer) -> None:
    assert isinstance(failure(start(server, "huge")), ModelTooLarge)


def test_an_empty_prompt_is_no_generation(server: OllamaServer) -> None:
    generation = server.generate(Prompt("tinyllama", ""), first_token_timeout_s=5, stall_timeout_s=5)
    assert not failure(generation).retryable


def test_a_bad_option_is_not_worth_a_retry(server: OllamaServer) -> None:
    error = failure(start(server, num_ctx="many"))
    assert isinstance(error, GenerationFailed)
    assert (error.status, error.retryable) == (500, False)


@pytest.mark.parametrize(
    ("fault", "says", "status"),
    [
        ("load_crash", "process has terminated", 500),
        ("crash", "error was encountered while running the model", None),
        ("cut", "broke", None),
        ("repeat", "ended without its last line", None),
    ],
)
def test_what_breaks_on_the_server_may_be_tried_again(
    server: OllamaServer, fault: str, says: str, status: int | None
) -> None:
    if fault == "load_crash":
        server.unload("tinyllama", timeout_s=5)
    error = failure(start(server, hotset_fault=fault))
    assert isinstance(error, GenerationFailed) and error.retryable
    assert says in str(error) and error.status == status
    assert list(start(server, num_predict=2))[-1].done, "the client works on"


def test_no_first_token_in_time(server: OllamaServer) -> None:
    server.load("tinyllama", {}, timeout_s=5)
    began = time.monotonic()
    error = failure(start(server, first_s=0.2, hotset_fault="hang"))
    assert isinstance(error, GenerationFailed) and error.retryable
    assert "gave no first token for 0.2 s" in str(error)
    assert 0.15 < time.monotonic() - began < 4.0


def test_a_stream_that_stalls(server: OllamaServer) -> None:
    began = time.monotonic()
    error = failure(start(server, stall_s=0.2, hotset_fault="stall"))
    assert isinstance(error, GenerationFailed) and error.retryable
    assert "went silent for 0.2 s" in str(error)
    assert time.monotonic() - began < 4.0


def test_a_load_that_takes_too_long(server: OllamaServer) -> None:
    server.unload("deepseek-r1:8b", timeout_s=5)
    with pytest.raises(GenerationFailed, match="not ready after") as caught:
        server.load("deepseek-r1:8b", {}, timeout_s=0.02)
    assert caught.value.retryable


# Close


@pytest.mark.parametrize("fault", ["hang", "stall"])
@pytest.mark.parametrize("connection", ["new", "used"])
def test_close_from_another_thread_ends_a_blocked_read(server: OllamaServer, fault: str, connection: str) -> None:
    if connection == "used":
        list(start(server, num_predict=2))
    generation = start(server, first_s=30.0, stall_s=30.0, hotset_fault=fault)
    ended: list[tuple[float, HotsetError]] = []

    def read() -> None:
        error = failure(generation)
        ended.append((time.monotonic(), error))

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.15)
    closed = time.monotonic()
    generation.close()
    reader.join(5)
    assert ended, "the reader is still blocked"
    ((when, error),) = ended
    assert when - closed < 5.0  # and not 30
    assert "broken off by close()" in str(error) and error.retryable


def test_close_breaks_off_a_wait_for_a_load() -> None:
    with serving(FLEET, "gpu0", scale=1.0) as url, OllamaServer(url) as server:
        generation = start(server, "deepseek-r1:8b", first_s=30.0)
        timer = threading.Timer(0.2, generation.close)
        timer.start()
        began = time.monotonic()
        assert "broken off" in str(failure(generation))
        assert time.monotonic() - began < 4.0
        timer.join()


def test_close_frees_the_servers_slot(server: OllamaServer) -> None:
    for _ in range(4):
        generation = start(server, hotset_run_s=1e5)
        next(generation)
        generation.close()
        generation.close()
    assert list(start(server, num_predict=2))[-1].done


def test_after_close_it_is_never_taken_for_whole(server: OllamaServer) -> None:
    generation = start(server, hotset_run_s=1e5)
    next(generation)
    generation.close()
    assert "broken off" in str(failure(generation))
    never_begun = start(server)
    never_begun.close()
    assert "broken off" in str(failure(never_begun))


def test_closing_a_generation_that_is_done_does_no_harm_to_the_next(server: OllamaServer) -> None:
    first = start(server, num_predict=2)
    list(first)
    second = start(server, hotset_run_s=5.0)
    next(second)  # on the same connection
    first.close()
    assert list(second)[-1].done
    assert list(first) == []


def test_closing_at_any_moment(server: OllamaServer) -> None:
    for step in range(40):
        generation = start(server, hotset_run_s=1.0)
        timer = threading.Timer(step * 0.001, generation.close)
        timer.start()
        with contextlib.suppress(GenerationFailed):
            list(generation)
        timer.join()
    assert list(start(server, num_predict=2))[-1].done
    with server._lanes._lock:
        assert len(server._lanes._idle) == 1


# Servers that are none, or none that is well


def test_nobody_there() -> None:
    with socket.socket() as bound:  # bound and not listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        with OllamaServer(f"http://127.0.0.1:{bound.getsockname()[1]}") as server:
            for ask in (
                server.info,
                server.resident,
                lambda: server.load("m", {}, timeout_s=1),
                lambda: server.unload("m", timeout_s=1),
                lambda: list(start(server)),
            ):
                with pytest.raises(ModelServerUnavailable) as caught:
                    ask()
                assert caught.value.retryable and caught.value.remedy


Talk = Callable[[socket.socket], None]


@contextlib.contextmanager
def speaking(talk: Talk) -> Iterator[OllamaServer]:
    """A server that hears one request on each connection and then does what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)
                        talk(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        with OllamaServer(f"http://127.0.0.1:{listener.getsockname()[1]}", answer_timeout_s=0.3) as server:
            yield server
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def answering(status: str, body: str, content_type: str = "application/json") -> Talk:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return lambda connection: connection.sendall((head + body).encode())


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        ("302 Found", False),
        ("400 Bad Request", False),
        ("401 Unauthorized", False),
        ("429 Too Many Requests", True),
        ("499 Client Closed Request", True),
        ("500 Internal Server Error", True),
        ("502 Bad Gateway", True),
        ("503 Service Unavailable", True),
    ],
)
def test_statuses(status: str, retryable: bool) -> None:
    with speaking(answering(status, '{"error": "so it is"}')) as server:
        error = failure(start(server))
    assert isinstance(error, GenerationFailed)
    assert (error.status, error.retryable) == (int(status[:3]), retryable)
    assert "so it is" in str(error)


def test_a_proxys_page_of_html() -> None:
    page = answering("502 Bad Gateway", "<html>no upstream</html>", "text/html")
    with speaking(page) as server:
        assert "no upstream" in str(failure(start(server)))
        with pytest.raises(ModelServerUnavailable):
            server.info()
    with speaking(answering("200 OK", "<html>welcome</html>", "text/html")) as server:
        assert isinstance(failure(start(server)), GenerationFailed)
        with pytest.raises(ModelServerUnavailable):
            server.resident()


def test_a_server_that_hangs_up() -> None:
    with speaking(lambda connection: None) as server:
        error = failure(start(server))
        assert isinstance(error, GenerationFailed) and error.retryable
        with pytest.raises(ModelServerUnavailable):
            server.resident()


def test_a_server_that_says_nothing() -> None:
    with speaking(lambda connection: time.sleep(0.6)) as server, pytest.raises(ModelServerUnavailable):
        server.resident()


def test_a_stream_that_is_cut_in_mid_line() -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\n{"response": "a", "done": false}\n'
        )

    with speaking(talk) as server:
        error = failure(start(server))
    assert isinstance(error, GenerationFailed) and error.retryable
