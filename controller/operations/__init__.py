"""What callers can do, each defined once: REST, MCP, the command line and the reference use these.

`OPERATIONS` is the whole list, in the order in which every door shows it.
"""

from controller.operations import builds, check, history, logs, promotion, rerun, waiting
from controller.operations.operation import Operation

OPERATIONS: tuple[Operation, ...] = (
    check.check_job,
    builds.submit_job,
    waiting.wait_for_job,
    builds.get_status,
    waiting.get_failure,
    logs.get_logs,
    builds.kill_job,
    rerun.rerun_phase,
    history.get_history,
    promotion.promote_image,
    history.cleanup,
)
BY_NAME = {operation.name: operation for operation in OPERATIONS}
