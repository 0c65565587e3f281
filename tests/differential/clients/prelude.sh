# What each shell script of a case begins with. SSH's clients read their options from one file.
[ -z "${SSH_PORT:-}" ] || {
    cat >"$HOME/config" <<END
Host target
    HostName 127.0.0.1
    Port $SSH_PORT
    User $SSH_USER
    IdentityFile $SSH_KEY
    IdentitiesOnly yes
    UserKnownHostsFile $SSH_KNOWN
    GlobalKnownHostsFile /dev/null
    HostKeyAlias $SSH_ALIAS
    StrictHostKeyChecking yes
    BatchMode yes
    LogLevel ERROR
END
    ssh() { command ssh -F "$HOME/config" "$@"; }
    sftp() { command sftp -F "$HOME/config" "$@"; }
    scp() { command scp -F "$HOME/config" "$@"; }
    export GIT_SSH_COMMAND="ssh -F $HOME/config" RSYNC_RSH="ssh -F $HOME/config"
}
unset BASH_ENV
