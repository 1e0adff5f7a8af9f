# shellcheck shell=bash
# Exports what the environment and .env say as variables of Terraform. Source it, do not run it:
#
#   source export_tf_vars.sh && cd pipeline/terraform && terraform plan
#
# helpers/infrastructure/tf_vars.py has the list. Values keep their spaces and quotes, .env is read and not executed, and no value is shown.

if ! (return 0 2>/dev/null); then
    echo "export_tf_vars.sh: source it, or the variables end with this process: source export_tf_vars.sh" >&2
    exit 2
fi

_runbook_export_tf_vars() {
    local project python statements
    project=$(cd "$(dirname "$1")" && pwd) || return 2
    python=$project/.venv/bin/python
    if [ ! -x "$python" ]; then
        echo "export_tf_vars.sh: $python is not there; run make setup" >&2
        return 2
    fi
    statements=$(cd "$project" && "$python" -m helpers.infrastructure.tf_vars "${RUNBOOK_ENV_FOLDER:-$project}") || return 2
    eval "$statements"
}

# A shell that traces its commands would show the values.
case $- in *x*) _runbook_traced=yes; set +x ;; *) _runbook_traced= ;; esac
_runbook_export_tf_vars "${BASH_SOURCE[0]:-$0}"
_runbook_status=$?
unset -f _runbook_export_tf_vars
if [ -n "$_runbook_traced" ]; then set -x; fi
(exit "$_runbook_status")
