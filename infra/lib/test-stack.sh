# shellcheck shell=bash
# The PostgreSQL and Redis of checks and tests, in .run/test.

readonly TEST_STACK=.run/test

# Sets the variables of its stack.env, unexported. Whoever found it stopped stops it
# again, with leave_test_stack in an EXIT trap; a developer who keeps one running, keeps it.
use_test_stack() {
  infra/stack.sh running $TEST_STACK || test_stack_is_ours=yes
  infra/stack.sh start $TEST_STACK || fail 'the test stack did not start'
  # shellcheck source=/dev/null
  source $TEST_STACK/stack.env
}

leave_test_stack() {
  [[ -z ${test_stack_is_ours:-} ]] || infra/stack.sh stop $TEST_STACK
}
