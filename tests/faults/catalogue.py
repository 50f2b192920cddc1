"""Everything that is done to litesup on purpose, as data: what it is, what a client may see at most, and why no more.

`docs/faults.md` is written from here (`python -m tests.faults.page`). Each fault has a test with real processes in this
directory, and names the protection without which that test would fail. `real` is a test of the same with the real
LiteLLM.
"""

from __future__ import annotations

from dataclasses import dataclass

NOTHING = "nothing"
WAIT = "a wait"


@dataclass(frozen=True, slots=True)
class Fault:
    """`held_by` is `module:attribute` below `supervisor`; `test` and `real` are `file::function`."""

    name: str
    done: str
    seen: str
    held_by: str
    test: str
    real: str = ""


def _in(file: str, *faults: tuple[str, str, str, str, str] | tuple[str, str, str, str, str, str]) -> tuple[Fault, ...]:
    return tuple(Fault(*fault[:4], f"{file}::test_{fault[4]}", *fault[5:]) for fault in faults)


_REPLICAS = _in(
    "test_replicas.py",
    (
        "replica-killed",
        "a replica is killed",
        f"{NOTHING}; requests that it had not begun to answer are answered by another",
        "policy.retry:decide",
        "a_request_that_its_replica_was_killed_over_is_answered_by_another",
        "test_replica_death.py::test_a_killed_replica_costs_nothing_and_its_slot_is_ready_again",
    ),
    (
        "replica-killed-under-load",
        "a replica is killed while requests come without a pause",
        NOTHING,
        "balancer.upstream:Connection.send",
        "a_killed_replica_costs_no_request",
        "test_replica_death.py::test_replicas_killed_one_after_the_other_cost_only_the_streams_that_they_had_begun",
    ),
    (
        "all-replicas-killed",
        "all replicas are killed at once",
        WAIT,
        "rotation:Rotation.wait",
        "all_replicas_killed_at_once_cost_a_wait",
        "test_replica_death.py::test_every_replica_can_be_killed_at_once_and_requests_wait_for_the_next",
    ),
    (
        "replica-stopped",
        "a replica is stopped (SIGSTOP)",
        "a wait, until its requests are given to another; it is killed and replaced",
        "policy.health:judge",
        "a_stopped_replica_costs_a_wait_and_is_replaced",
        "test_replica_death.py::test_a_stopped_replica_keeps_nobody_waiting_until_it_is_killed",
    ),
    (
        "replica-exits-3",
        "a replica ends by itself, with the code that means a refused configuration",
        NOTHING,
        "policy.rollout:plan",
        "a_replica_that_ends_by_itself_with_3_is_only_a_replica_that_ended",
    ),
    (
        "socket-removed",
        "a replica's socket is removed",
        f"{NOTHING}; it is replaced",
        "fleet.probe:LivenessProbe",
        "a_replica_whose_socket_is_gone_is_replaced_and_costs_no_request",
    ),
    (
        "socket-replaced",
        "a replica's socket is replaced by another file",
        f"{NOTHING}; it is replaced",
        "fleet.probe:LivenessProbe",
        "a_replica_whose_socket_is_gone_is_replaced_and_costs_no_request",
    ),
    (
        "request-that-kills",
        "a request kills every replica that gets it",
        "502 with `x-should-retry: false` for that request, after two replicas; nothing for others",
        "policy.retry:decide",
        "a_request_that_kills_takes_two_replicas_with_it_and_not_the_pool",
    ),
    (
        "request-that-hangs",
        "a request hangs every replica that gets it",
        "502 with `x-should-retry: false` for that request, after two replicas; nothing for others",
        "balancer.dispatch:Dispatch.give_up",
        "a_request_that_hangs_takes_two_replicas_with_it_and_not_the_pool",
    ),
    (
        "memory-runs-out",
        "replicas take memory until they are killed",
        "502 for the request that was in flight at two deaths; nothing for others",
        "policy.retry:decide",
        "a_replica_that_runs_out_of_memory_is_one_that_was_killed",
    ),
    (
        "memory-grows",
        "a replica's private memory grows beyond `recycle.private_memory`",
        f"{NOTHING}; it is replaced, the replacement first",
        "fleet.recycler:Recycler",
        "a_replica_whose_memory_grows_is_replaced_before_it_ends_and_costs_no_request",
    ),
    (
        "replica-prints",
        "replicas print without end",
        NOTHING,
        "fleet.launch.output:Output",
        "a_replica_that_prints_without_end_is_not_made_to_wait",
    ),
    (
        "replica-ignores-term",
        "a replica that is to be replaced does not end on SIGTERM",
        f"{NOTHING}; it is killed after `replicas.stop_timeout`",
        "fleet.replica:Replica.stop",
        "a_replica_that_does_not_listen_to_TERM_holds_up_nothing",
    ),
    (
        "replica-leaves-children",
        "a replica dies and leaves processes running",
        f"{NOTHING}; they are killed with its session",
        "fleet.launch.child:Child",
        "what_a_replica_left_running_ends_with_it",
    ),
    (
        "stream-cut",
        "a replica is killed in the middle of a stream",
        "an error event, and an end without the last chunk",
        "balancer.relay:relay_response",
        "a_stream_whose_replica_is_killed_ends_visibly",
        "test_replica_death.py::test_a_stream_cut_by_a_death_does_not_look_complete",
    ),
    (
        "websocket-cut",
        "a replica is killed under a WebSocket",
        "the end of the connection",
        "balancer.websocket:tunnel",
        "a_websocket_whose_replica_is_killed_ends",
    ),
)

_ANSWERS = _in(
    "test_answers.py",
    (
        "half-a-head",
        "a replica sends half of a response's head, and no more",
        "504 after `balancer.response_timeout`",
        "balancer.upstream:ResponseTimeout",
        "half_a_head_and_then_silence_is_a_504",
    ),
    (
        "half-a-head-and-end",
        "a replica sends half of a response's head, and closes",
        "another one is asked; 502 with `x-should-retry: false`, after two",
        "policy.retry:decide",
        "half_a_head_and_then_the_end_twice_is_a_502",
    ),
    (
        "half-a-head-of-a-creation",
        "the same, where the request creates something",
        "502 with `x-should-retry: false`",
        "policy.retry:decide",
        "what_creates_something_is_not_to_be_repeated_after_half_a_head",
    ),
    (
        "closed-without-answer",
        "replicas close the connection instead of answering",
        "502 with `x-should-retry: false`, after two",
        "policy.retry:decide",
        "a_connection_closed_without_an_answer_twice_is_a_502",
    ),
    (
        "no-end",
        "a response stops before its end",
        "an end that cannot be taken for the whole, after `balancer.response_timeout`",
        "balancer.upstream:ResponseTimeout",
        "a_body_that_stops_coming_ends_visibly",
    ),
    (
        "reset",
        "a replica resets the connection in the middle of a stream",
        "an error event, and an end without the last chunk",
        "balancer.relay:ClientStream.break_off",
        "a_stream_that_is_reset_ends_with_an_error_event",
    ),
    (
        "half-a-body",
        "a replica is killed in the middle of a body",
        "an end that cannot be taken for the whole",
        "balancer.relay:relay_response",
        "half_a_body_and_then_a_kill_ends_visibly",
    ),
    (
        "garbage",
        "a replica sends what is no response",
        "502 with `x-should-retry: true`, and none of it",
        "balancer.response:ResponseReader.feed",
        "garbage_reaches_no_client",
    ),
    (
        "endless-head",
        "a response's head does not end",
        "502 after 256 KiB",
        "balancer.response:ResponseReader.feed",
        "a_head_without_end_is_a_502_and_no_memory",
    ),
    (
        "one-byte-at-a-time",
        "an answer comes one byte at a time",
        "the whole answer, as slowly; nothing for others",
        "policy.health:judge",
        "an_answer_of_a_byte_now_and_then_arrives_whole_and_holds_up_nobody",
    ),
    (
        "two-answers",
        "a replica answers one request twice",
        "the first answer; the second reaches nobody",
        "balancer.response:ResponseReader.feed",
        "a_second_answer_to_one_request_reaches_nobody",
    ),
    (
        "litellm-errors",
        "LiteLLM answers 500, 503 or 429",
        "that answer, unchanged; no replica is blamed",
        "balancer.dispatch:Dispatch.failed",
        "an_error_of_litellms_own_is_passed_on_and_counts_against_no_replica",
        "test_guide.py::test_the_client_sees_the_status_that_azure_answered",
    ),
)

_CHANGES = _in(
    "test_changes.py",
    (
        "starting-crashes",
        "under a saved change, replicas crash while they start",
        f"{NOTHING}; the change is taken back",
        "policy.rollout:FailTrial",
        "a_change_whose_replicas_end_while_starting_is_taken_back",
        "test_reload.py::test_a_generation_that_cannot_start_leaves_the_old_one_serving",
    ),
    (
        "starting-exits-3",
        "under a saved change, replicas end with exit code 3",
        f"{NOTHING}; the change is taken back",
        "policy.rollout:FailTrial",
        "a_change_whose_replicas_end_while_starting_is_taken_back",
        "test_outage.py::test_whatever_is_wrong_with_a_change_no_request_fails_and_no_stream_is_cut",
    ),
    (
        "slow-boot",
        "under a saved change, replicas do not start before `replicas.start_timeout`",
        f"{NOTHING}; the change is taken back",
        "policy.rollout:plan",
        "a_change_whose_replicas_do_not_start_in_time_is_taken_back",
    ),
    (
        "ready-then-silent",
        "under a saved change, replicas become ready and then fall silent",
        f"{NOTHING}; the change is taken back",
        "policy.rollout:plan",
        "a_change_whose_replicas_fall_silent_once_they_are_ready_is_taken_back",
    ),
    (
        "cannot-load",
        "under a saved change, LiteLLM cannot even be loaded",
        f"{NOTHING}; the change is taken back",
        "fleet.preparation:Preparation",
        "a_change_under_which_litellm_cannot_be_loaded_is_taken_back",
    ),
    (
        "config-broken",
        "the configuration is saved broken, and a replica dies",
        f"{NOTHING}; it comes back on what served",
        "reload:Reloader.reload",
        "a_broken_file_changes_nothing_and_a_killed_replica_comes_back",
        "test_outage.py::test_a_typo_is_saved_and_replicas_are_killed_one_after_another_and_no_request_fails",
    ),
    (
        "config-deleted",
        "the configuration is deleted, and a replica dies",
        f"{NOTHING}; it comes back on what served",
        "reload:Reloader.reload",
        "a_file_that_is_deleted_changes_nothing_and_a_killed_replica_comes_back",
    ),
    (
        "env-vanished",
        "`.env` vanishes, and a replica dies",
        f"{NOTHING}; it comes back on what served",
        "reload:Reloader.reload",
        "an_env_file_that_vanishes_changes_nothing_and_a_killed_replica_comes_back",
    ),
    (
        "settings-broken",
        "`litesup.yaml` is saved broken, wrong or empty, or deleted, and a replica dies",
        f"{NOTHING}; the settings in force stay",
        "live:LiveSettings.reload",
        "settings_that_cannot_be_used_change_nothing",
    ),
    (
        "environment-changes",
        "the environment changes, and a replica dies meanwhile",
        NOTHING,
        "fleet.launch.forked:ForkedLauncher",
        "a_replica_that_dies_while_the_environment_changes_costs_no_request",
        "test_outage.py::test_good_changes_cut_nothing_and_a_long_stream_holds_up_nothing",
    ),
    (
        "watch-overflow",
        "so many files change that the kernel drops word of them, a save among them",
        f"{NOTHING}; the save is noticed",
        "watch:FileWatch",
        "a_change_is_seen_though_the_kernel_dropped_the_word_of_it",
    ),
    (
        "hangup-twice",
        "a change is saved, and SIGHUP sent twice",
        f"{NOTHING}; it is one change",
        "reload:Reloader.reload",
        "two_hangups_at_once_are_one_change_and_cost_no_request",
    ),
)

_LAUNCH = _in(
    "test_launch.py",
    (
        "fork-server-killed",
        "the fork server is killed, and then a replica",
        f"{NOTHING}; both come back",
        "fleet.launch.standby:Standby",
        "a_killed_fork_server_is_replaced_and_costs_no_request",
        "test_stop.py::test_a_killed_fork_server_is_replaced_without_touching_replicas",
    ),
    (
        "fork-server-stopped",
        "the fork server is stopped (SIGSTOP), and a replica killed",
        f"{NOTHING}; the fork server is killed, and both come back",
        "fleet.launch.forkserver:ForkServer.fork",
        "a_stopped_fork_server_is_killed_and_the_slot_filled_all_the_same",
    ),
    (
        "fork-server-with-threads",
        "loading LiteLLM leaves a thread behind, so that it must not be forked",
        f"{NOTHING}; replicas are started plainly, and `status` says why",
        "fleet.launch.auto:AutoLauncher",
        "a_fork_server_with_a_second_thread_means_plain_replicas",
        "test_launch.py::test_a_second_thread_in_the_fork_server_means_plain_replicas",
    ),
)

_DAEMON = _in(
    "test_daemon.py",
    (
        "terminated-twice",
        "SIGTERM, and again while requests finish",
        "finished requests until the second signal, then an end that cannot be taken for the whole",
        "stopping:StopRequest.ask",
        "one_signal_lets_requests_finish_and_a_second_does_not_wait",
        "test_stop.py::test_the_first_signal_drains_and_the_second_does_not_wait",
    ),
    (
        "interrupted-twice",
        "SIGINT, and again while requests finish",
        "finished requests until the second signal, then an end that cannot be taken for the whole",
        "stopping:StopRequest.ask",
        "one_signal_lets_requests_finish_and_a_second_does_not_wait",
    ),
    (
        "daemon-killed",
        "the daemon is killed (SIGKILL)",
        "the end of every connection; the next start works at once, and no process is left",
        "fleet.launch.kernel:die_with_parent",
        "a_killed_daemon_leaves_no_process_and_the_next_start_works",
        "test_stop.py::test_killing_the_daemon_leaves_no_process_and_the_next_start_works_at_once",
    ),
    (
        "stale-sockets",
        "sockets and a lock file of an earlier daemon lie in the runtime directory",
        NOTHING,
        "control.lock:InstanceLock",
        "sockets_and_files_of_an_earlier_daemon_hinder_nothing",
    ),
    (
        "daemon-stood-still",
        "the daemon itself stands still for longer than `health.kill_after` (SIGSTOP)",
        "a wait; nobody is killed for it",
        "policy.health:judge",
        "a_daemon_that_stood_still_kills_nobody_when_it_goes_on",
    ),
    (
        "second-start",
        "a second `litesup start` on the same runtime directory",
        f"{NOTHING}; it says who runs, and ends with 1",
        "control.lock:InstanceLock.acquire",
        "a_second_start_says_who_runs_and_changes_nothing",
        "test_stop.py::test_a_second_start_says_that_one_is_running_and_where",
    ),
    (
        "port-taken",
        "the balancer's port is taken at start",
        "whatever listens there; `start` says so and ends with 1, and leaves nothing",
        "balancer.listen:PortTaken",
        "a_port_that_is_taken_is_said_and_nothing_is_left",
    ),
    (
        "admin-port-taken",
        "the admin port is taken at start",
        "no port; `start` says so and ends with 1, and leaves nothing",
        "admin:AdminServer.start",
        "an_admin_port_that_is_taken_is_said_and_nothing_is_left",
    ),
    (
        "never-starts",
        "no replica ever starts",
        "503 with `x-should-retry: true` after `queue.timeout`; health says 503",
        "rotation:Rotation.wait",
        "replicas_that_never_start_cost_a_wait_and_then_a_503",
    ),
    (
        "crash-loop",
        "every replica ends a moment after it is ready, again and again",
        "waits; 502 for what was in flight at two deaths",
        "policy.restart:due_at",
        "replicas_that_end_again_and_again_cost_waits",
    ),
    (
        "disk-full",
        "nothing can be written any more, and a change is saved",
        f"{NOTHING}; the change is refused, a killed replica comes back, and later the change is taken",
        "reload:Reloader.reload",
        "a_full_disk_keeps_the_old_configuration_and_no_request_waits",
    ),
    (
        "state-full",
        "the state directory is full",
        f"{NOTHING}; a warning that nothing is kept to go back to",
        "history.keeper:Keeper",
        "a_full_state_directory_is_a_warning",
    ),
    (
        "state-read-only",
        "the state directory is read-only",
        f"{NOTHING} where nothing has to be written (a warning); else `start` says so and ends",
        "history.keeper:Keeper",
        "a_state_directory_that_is_read_only_is_said_or_a_warning",
    ),
    (
        "no-descriptors",
        "the daemon's file descriptors are used up",
        "refused or late connections meanwhile; what is at work goes on",
        "balancer.crowd:affordable",
        "no_file_descriptors_left_cost_waits_and_are_survived",
    ),
    (
        "clock-jumps",
        "the wall clock jumps by a day, in either direction, while a replica starts",
        NOTHING,
        "fleet.pool:Pool",
        "a_jump_of_the_wall_clock_changes_nothing",
    ),
    (
        "no-names",
        "no name can be resolved any more",
        "what LiteLLM says about its provider; nothing of litesup's own needs a name",
        "balancer.listen:listen",
        "names_that_cannot_be_resolved_hinder_nothing_on_this_machine",
    ),
    (
        "log-reader-blocks",
        "whoever reads the log stops reading, and its pipe is full",
        f"{NOTHING}; lines are dropped, and counted",
        "observe.sink:Sink.write",
        "a_reader_of_the_log_that_does_not_read_holds_up_nothing",
    ),
)

_CLIENTS = _in(
    "test_clients.py",
    (
        "idle-connections",
        "5,000 connections are open and say nothing, and the limit of open files was 1,024",
        NOTHING,
        "balancer.crowd:affordable",
        "five_thousand_idle_connections_hinder_nobody",
    ),
    (
        "slow-loris",
        "200 clients send their heads byte by byte",
        "408 for them after `limits.head_timeout`; nothing for others",
        "balancer.front:ClientConnection",
        "clients_that_send_their_heads_byte_by_byte_are_sent_away_and_hinder_nobody",
    ),
    (
        "upload-stalls",
        "an upload stops in the middle",
        "408 after `limits.body_timeout`",
        "balancer.body:RequestBody",
        "an_upload_that_stalls_is_a_408",
    ),
    (
        "client-leaves-waiting",
        "clients leave before their answer begins",
        f"{NOTHING}; the replicas' connections are closed",
        "balancer.front:ClientConnection",
        "a_client_that_leaves_before_its_answer_leaves_nothing",
        "test_guide.py::test_a_client_that_leaves_is_left_by_the_provider_call_too",
    ),
    (
        "client-leaves-line",
        "a client leaves the line in which it waits for a replica",
        NOTHING,
        "rotation:Rotation.wait",
        "more_requests_than_may_wait_are_told_when_to_come_back_and_who_leaves_makes_room",
    ),
    (
        "client-leaves-streaming",
        "a client leaves in the middle of a stream",
        f"{NOTHING}; the replica's connection is closed",
        "balancer.front:ClientConnection",
        "a_client_that_leaves_its_stream_is_left_by_the_replica_too",
    ),
    (
        "client-does-not-read",
        "a client asks for 64 MiB and does not read",
        f"{NOTHING}; it is let go after `balancer.response_timeout`, and no memory is taken",
        "balancer.relay:ClientStream",
        "a_client_that_does_not_read_its_answer_is_left_and_costs_no_memory",
    ),
    (
        "queue-full",
        "more requests wait than `queue.size`",
        "503 with `retry-after-ms` and `x-should-retry: true`",
        "policy.queueing:retry_after",
        "more_requests_than_may_wait_are_told_when_to_come_back_and_who_leaves_makes_room",
    ),
    (
        "ambiguous-request",
        "a request announces its body's length in two ways",
        "400, and the end of the connection; no replica sees it",
        "balancer.guard:Guard.feed",
        "a_request_that_nobody_can_read_for_sure_reaches_no_replica",
    ),
    (
        "control-client-does-not-read",
        "a follower of the log reads nothing from the control socket",
        f"{NOTHING}; commands are answered",
        "control.server:ControlServer",
        "a_control_client_that_never_reads_hinders_no_command",
    ),
)

SECTIONS: dict[str, tuple[Fault, ...]] = {
    "Replicas that die, hang or are in a bad way": _REPLICAS,
    "Answers that are none": _ANSWERS,
    "Changes and files": _CHANGES,
    "The fork server": _LAUNCH,
    "The daemon, and the machine under it": _DAEMON,
    "Clients": _CLIENTS,
}
FAULTS: tuple[Fault, ...] = tuple(fault for faults in SECTIONS.values() for fault in faults)


def named(name: str) -> Fault:
    """Raises KeyError."""
    return {fault.name: fault for fault in FAULTS}[name]
