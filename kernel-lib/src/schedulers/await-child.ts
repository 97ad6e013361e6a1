/**
 * Lines of bash that wait for the process `$child`, whatever signals are trapped meanwhile, and leave its exit code in
 * `$code`. Shared by the batch script and by the shell around it on this machine.
 */
export const AWAIT_CHILD = `wait "$child"
# wait returns early when a signal was trapped; the child may still be closing its files.
while kill -0 "$child" 2>/dev/null; do wait "$child"; done
# Once more: of a child that ended while a signal was passed on, wait has told the signal, not the exit code.
wait "$child"; code=$?`;
