module robin/local_stack/victoria-logs

go 1.25.0

require github.com/VictoriaMetrics/VictoriaLogs v1.52.1
