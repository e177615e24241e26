{{/* Variables of the mirror Job beside those of every pod. */}}
{{- define "models.jobEnvironment" -}}
- name: HF_HUB_DISABLE_TELEMETRY
  value: "1"
{{- range $name, $value := .env }}
- name: {{ $name }}
  value: {{ include "models.literal" $value }}
{{- end }}
{{- include "models.secretVariables" .secrets }}
{{- end }}

{{/* NAME: SECRET/KEY, as variables of one key each. */}}
{{- define "models.secretVariables" -}}
{{- range $name, $ref := . }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ (splitList "/" $ref) | first | toJson }}
      key: {{ (splitList "/" $ref) | last | toJson }}
{{- end }}
{{- end }}

{{/* path, port, and seconds: delay, period, timeout; failures */}}
{{- define "models.probe" -}}
httpGet:
  path: {{ first . | toJson }}
  port: {{ index . 1 | int }}
initialDelaySeconds: {{ index . 2 }}
periodSeconds: {{ index . 3 }}
timeoutSeconds: {{ index . 4 }}
failureThreshold: {{ index . 5 }}
{{- end }}
