#!/bin/sh
# Starts Alertmanager with the notifications that are configured: start.sh [ARGUMENT OF ALERTMANAGER]...
#
# Writes alertmanager.yml, which lies beside this file, with what is configured into $ALERTMANAGER_CONFIG_DIR (/tmp).
# A secret is a file in $ALERT_SECRETS_DIR (/run/secrets/alertmanager): slack_webhook_url, pagerduty_routing_key,
# smtp_password; Alertmanager reads it whenever it sends something. Email is configured by ALERT_EMAIL_TO,
# ALERT_EMAIL_FROM, ALERT_SMTP_HOST (host:port), and, where the server asks who one is, ALERT_SMTP_USERNAME and
# smtp_password; ALERT_SMTP_REQUIRE_TLS is true. ALERT_PAGERDUTY_URL is for PagerDuty's other regions.
# Nothing configured: alerts are seen in Alertmanager alone. Half of something configured: it does not start.
set -eu

here=$(cd -- "$(dirname -- "$0")" && pwd)
secrets=${ALERT_SECRETS_DIR:-/run/secrets/alertmanager}
rendered=${ALERTMANAGER_CONFIG_DIR:-/tmp}/alertmanager.yml

refuse() {
    printf 'alertmanager: %s\n' "$*" >&2
    exit 1
}

check_folder() {
    if [ -d "$secrets" ]; then
        { [ -r "$secrets" ] && [ -x "$secrets" ]; } ||
            refuse "user $(id -u) may not read the folder $secrets: chmod 755 that folder"
    elif [ -n "${ALERT_SECRETS_DIR:-}" ] || [ -e "$secrets" ]; then
        refuse "$secrets is not a folder: correct ALERT_SECRETS_DIR, or unset it to go without secrets"
    fi
    for file in "$secrets"/*; do
        case ${file##*/} in
            slack_webhook_url | pagerduty_routing_key | smtp_password | README* | '*') ;;
            *) refuse "$file is no secret that is known: name it slack_webhook_url, pagerduty_routing_key or" \
                "smtp_password, or remove it" ;;
        esac
    done
}

has_secret() {
    file=$secrets/$1
    if [ ! -e "$file" ] && [ ! -L "$file" ]; then
        return 1
    fi
    { [ -f "$file" ] && [ -r "$file" ]; } ||
        refuse "user $(id -u) may not read $file, or it is no file: chmod 644 that file, or remove it"
    grep -q '[^[:space:]]' "$file" || refuse "$file is empty: write the secret into it, or remove it"
}

check_slack() {
    has_secret slack_webhook_url || return 0
    case $(tr -d '\r' <"$secrets/slack_webhook_url") in
        *[[:space:]]*) refuse "$secrets/slack_webhook_url must hold one URL and nothing else" ;;
        https://?* | http://?*) slack=on ;;
        *) refuse "$secrets/slack_webhook_url must hold the webhook's whole URL, https://..." ;;
    esac
}

check_pagerduty() {
    if has_secret pagerduty_routing_key; then
        case $(tr -d '\r' <"$secrets/pagerduty_routing_key") in
            *[![:alnum:]]*) refuse "$secrets/pagerduty_routing_key must hold one integration key and nothing else" ;;
            *) pagerduty=on ;;
        esac
    elif [ -n "${ALERT_PAGERDUTY_URL:-}" ]; then
        refuse "ALERT_PAGERDUTY_URL is set without a key: write it into $secrets/pagerduty_routing_key, or unset" \
            "ALERT_PAGERDUTY_URL"
    fi
}

check_email() {
    if has_secret smtp_password; then password=on; fi
    if [ -z "${ALERT_EMAIL_TO:-}${ALERT_EMAIL_FROM:-}${ALERT_SMTP_HOST:-}${ALERT_SMTP_USERNAME:-}$password" ]; then
        return
    fi
    for name in ALERT_EMAIL_TO ALERT_EMAIL_FROM ALERT_SMTP_HOST; do
        eval "value=\${$name:-}"
        [ -n "$value" ] || refuse "email is half configured: set $name too, or to go without email unset" \
            "ALERT_EMAIL_TO, ALERT_EMAIL_FROM, ALERT_SMTP_HOST, ALERT_SMTP_USERNAME and remove $secrets/smtp_password"
    done
    case $ALERT_EMAIL_TO,$ALERT_EMAIL_FROM in
        *?@?*,*?@?*) ;;
        *) refuse "ALERT_EMAIL_TO and ALERT_EMAIL_FROM must be email addresses, name@example.org" ;;
    esac
    case ${ALERT_SMTP_HOST##*:} in
        "$ALERT_SMTP_HOST" | '' | *[!0-9]*) refuse "ALERT_SMTP_HOST must be host:port, mail.example.org:587" ;;
    esac
    case ${ALERT_SMTP_REQUIRE_TLS:-true} in
        true | false) ;;
        *) refuse "ALERT_SMTP_REQUIRE_TLS must be true or false" ;;
    esac
    check_smtp_login
    email=on
}

check_smtp_login() {
    if [ -n "${ALERT_SMTP_USERNAME:-}" ]; then
        [ "$password" = on ] ||
            refuse "ALERT_SMTP_USERNAME is set without a password: write it into $secrets/smtp_password, or unset" \
                "ALERT_SMTP_USERNAME"
        case ${ALERT_SMTP_REQUIRE_TLS:-true},$ALERT_SMTP_HOST in
            true,* | *:465 | *,localhost:* | *,127.0.0.1:*) ;;
            *) refuse "ALERT_SMTP_USERNAME with ALERT_SMTP_REQUIRE_TLS=false: no password is sent in the clear" ;;
        esac
    elif [ "$password" = on ]; then
        refuse "$secrets/smtp_password is there without a name: set ALERT_SMTP_USERNAME, or remove the file"
    fi
}

quoted() {
    printf "'%s'" "$(printf '%s' "$1" | sed "s/'/''/g")"
}

render_slack() {
    cat <<EOF_SLACK
    slack_configs:
      - api_url_file: $(quoted "$secrets/slack_webhook_url")
        send_resolved: true
        username: robin
        color: '{{ template "robin.color" . }}'
        title: '{{ template "robin.title" . }}'
        title_link: '{{ template "robin.dashboard" . }}'
        text: '{{ template "robin.slack.text" . }}'
        fallback: '{{ template "robin.title" . }}'
EOF_SLACK
}

render_pagerduty() {
    cat <<EOF_PAGERDUTY
    pagerduty_configs:
      - routing_key_file: $(quoted "$secrets/pagerduty_routing_key")
        url: $(quoted "${ALERT_PAGERDUTY_URL:-https://events.pagerduty.com/v2/enqueue}")
        send_resolved: true
        severity: '{{ .CommonLabels.severity }}'
        description: '{{ template "robin.pagerduty.description" . }}'
        source: '{{ .GroupLabels.service }}'
        component: '{{ .GroupLabels.service }}'
        class: '{{ .GroupLabels.alertname }}'
        group: '{{ .CommonLabels.area }}'
        client: robin
        client_url: '{{ .ExternalURL }}'
        details:
          firing: '{{ template "robin.pagerduty.alerts" .Alerts.Firing }}'
          resolved: '{{ template "robin.pagerduty.alerts" .Alerts.Resolved }}'
        links:
          - {text: Dashboard, href: '{{ template "robin.dashboard" . }}'}
          - {text: Runbook, href: '{{ template "robin.runbook" . }}'}
EOF_PAGERDUTY
}

render_email() {
    cat <<EOF_EMAIL
    email_configs:
      - to: $(quoted "$ALERT_EMAIL_TO")
        from: $(quoted "$ALERT_EMAIL_FROM")
        smarthost: $(quoted "$ALERT_SMTP_HOST")
        require_tls: ${ALERT_SMTP_REQUIRE_TLS:-true}
        send_resolved: true
        headers: {Subject: '{{ template "robin.title" . }}'}
        text: '{{ template "robin.email.text" . }}'
        html: '{{ template "robin.email.html" . }}'
EOF_EMAIL
    if [ "$password" = on ]; then
        cat <<EOF_LOGIN
        auth_username: $(quoted "$ALERT_SMTP_USERNAME")
        auth_password_file: $(quoted "$secrets/smtp_password")
EOF_LOGIN
    fi
}

render() {
    while IFS= read -r line; do
        case $line in
            '  - templates/'*) printf '  - %s\n' "$(quoted "$here/${line#  - }")" ;;
            *) printf '%s\n' "$line" ;;
        esac
        case $line in
            '  - name: team') [ "$slack" = off ] || render_slack ;;
            '  - name: oncall') [ "$pagerduty" = off ] || render_pagerduty ;;
            '  - name: escalation') [ "$email" = off ] || render_email ;;
        esac
    done <"$here/alertmanager.yml"
}

slack=off pagerduty=off email=off password=
check_folder
check_slack
check_pagerduty
check_email
umask 077
render >"$rendered"
printf 'alertmanager: notifications: Slack %s, PagerDuty %s, email %s\n' "$slack" "$pagerduty" "$email" >&2
exec "${ALERTMANAGER:-/bin/alertmanager}" --config.file="$rendered" "$@"
