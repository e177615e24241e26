{{/* Texts are written as JSON: YAML reads every JSON string as that string. */}}

{{- define "models.selector" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Values.name | toJson }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "models.podLabels" -}}
{{- range $key, $value := omit .root.Values.labels "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/part-of" "app.kubernetes.io/managed-by" "app.kubernetes.io/version" }}
{{ $key | toJson }}: {{ $value | toJson }}
{{- end }}
{{ include "models.selector" . }}
app.kubernetes.io/part-of: model-provisioner
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{/* name, component, annotations (a dict, may be left out), cluster (has no namespace) */}}
{{- define "models.metadata" -}}
name: {{ .name | toJson }}
{{- if and .root.Values.namespace (not .cluster) }}
namespace: {{ .root.Values.namespace | toJson }}
{{- end }}
{{ include "models.marks" . }}
{{- end }}

{{/* component, annotations (a dict, may be left out) */}}
{{- define "models.marks" -}}
labels:
  helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | toJson }}
  {{- include "models.podLabels" . | trim | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.annotations }}
annotations:
  {{- range $key, $value := . }}
  {{ $key | toJson }}: {{ $value | toJson }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What keeps GitOps controllers from running a finished Job again, or makes them run it. */}}
{{- define "models.gitops" -}}
{{- if eq .root.Values.job.gitops "ignore" -}}
argocd.argoproj.io/hook: Skip
argocd.argoproj.io/compare-options: IgnoreExtraneous
argocd.argoproj.io/sync-options: Prune=false
kustomize.toolkit.fluxcd.io/ssa: Ignore
kustomize.toolkit.fluxcd.io/prune: Disabled
{{- else if eq .root.Values.job.gitops "hook" -}}
argocd.argoproj.io/hook: PreSync
argocd.argoproj.io/hook-delete-policy: BeforeHookCreation
kustomize.toolkit.fluxcd.io/force: Enabled
{{- if .first }}
argocd.argoproj.io/sync-wave: "-1"
{{- end }}
{{- else -}}
{}
{{- end }}
{{- end }}

{{- define "models.release" -}}
model-provisioner/release: {{ .Values.release.id | toJson }}
{{- end }}

{{- define "models.lockName" -}}
{{ .Values.name }}-lock-{{ .Values.lock | sha256sum | trunc 12 }}
{{- end }}

{{- define "models.lockPath" -}}
{{ .Values.job.lock_path | default "/etc/provision/models.lock" }}
{{- end }}

{{/* A claim that exists is called like the installation unless the target says otherwise. */}}
{{- define "models.claimName" -}}
{{ .Values.target.claim | default (ternary .Values.name "models" (eq .Values.target.kind "claim")) }}
{{- end }}

{{/* JSON lists: the claims that Jobs write to, and those that consumers mount. */}}
{{- define "models.writers" -}}
{{- $target := .Values.target -}}
{{- if eq $target.kind "s3" -}}
[""]
{{- else if eq $target.kind "rwo" -}}
{{ $target.claims | default (list "inference" "indexing") | toJson }}
{{- else -}}
{{ list (include "models.claimName" . ) | toJson }}
{{- end }}
{{- end }}

{{- define "models.readers" -}}
{{- $target := .Values.target -}}
{{- $claim := include "models.claimName" . -}}
{{- if eq $target.kind "rwo" -}}
{{ $target.claims | default (list "inference" "indexing") | toJson }}
{{- else if has $target.kind (list "nfs" "azure-files") -}}
{{ list ($target.readers | default (printf "%s-ro" $claim)) | toJson }}
{{- else -}}
{{ list ($target.readers | default $claim) | toJson }}
{{- end }}
{{- end }}

{{/* What every pod has; .writes for those that need the volume's group, .user where it is not that of the values. */}}
{{- define "models.podDefaults" -}}
{{- $values := .root.Values -}}
{{- $user := ternary .user $values.user (hasKey . "user") | int64 -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $values.service_account }}
serviceAccountName: {{ . | toJson }}
{{- end }}
{{- with $values.pull_secrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | toJson }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: {{ or $values.openshift (ne $user 0) }}
  seccompProfile:
    type: RuntimeDefault
  {{- if not $values.openshift }}
  runAsUser: {{ $user }}
  runAsGroup: {{ $values.group | int64 }}
  {{- if .writes }}
  fsGroup: {{ $values.fs_group | int64 }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  {{- end }}
{{- with $values.node_selector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Pods of these labels on different nodes, where there are some. */}}
{{- define "models.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- . | nindent 8 }}
{{- end }}

{{/* The part of a container that all have: root, name, resources. */}}
{{- define "models.container" -}}
name: {{ .name }}
image: {{ .root.Values.image | toJson }}
imagePullPolicy: {{ .root.Values.pull_policy }}
{{ include "models.resources" .resources }}
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop:
      - ALL
{{- end }}

{{- define "models.resources" -}}
resources:
  requests:
    cpu: {{ kindIs "invalid" .cpu | ternary "1" .cpu | toJson }}
    memory: {{ kindIs "invalid" .memory | ternary "512Mi" .memory | toJson }}
  {{- if or .cpu_limit .memory_limit }}
  limits:
    {{- with .cpu_limit }}
    cpu: {{ . | toJson }}
    {{- end }}
    {{- with .memory_limit }}
    memory: {{ . | toJson }}
    {{- end }}
  {{- end }}
{{- end }}

{{/* For every pod that runs `provision` on a read-only root file system. */}}
{{- define "models.environment" -}}
- name: HOME
  value: /scratch
- name: TMPDIR
  value: /scratch
- name: PYTHONDONTWRITEBYTECODE
  value: "1"
- name: PROVISION_SUMMARY
  value: /dev/termination-log
{{- end }}

{{/* A retry helps against what is out of reach now, and against nothing else; a pod that was evicted is replaced. */}}
{{- define "models.failurePolicy" -}}
podFailurePolicy:
  rules:
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
    - action: FailJob
      onExitCodes:
        containerName: {{ . }}
        operator: In
        values: [1, 2, 3, 4, 6, 7, 8]
      onPodConditions: []
    - action: Count
      onExitCodes:
        containerName: {{ . }}
        operator: In
        values: [5, 130]
      onPodConditions: []
{{- end }}

{{/* A value of `args` or `env` as it arrives: Kubernetes would expand $(NAME) in it. */}}
{{- define "models.literal" -}}
{{ . | replace "$" "$$" | toJson }}
{{- end }}
