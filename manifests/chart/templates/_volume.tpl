{{- define "models.volumeName" -}}
{{ with .root.Values.namespace }}{{ . }}.{{ end }}{{ .claim }}
{{- end }}

{{/* claim, size, mode, class (null is the cluster's default), volume */}}
{{- define "models.claim" -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "models.metadata" (dict "root" .root "name" .claim "component" "volume") | nindent 2 }}
spec:
  accessModes:
    - {{ .mode }}
  volumeMode: Filesystem
  {{- if kindIs "string" .class }}
  storageClassName: {{ .class | toJson }}
  {{- end }}
  resources:
    requests:
      storage: {{ .size | toJson }}
  {{- with .volume }}
  volumeName: {{ . | toJson }}
  {{- end }}
{{- end }}

{{/* A volume that exists outside of the cluster, for one claim: claim, size, writes */}}
{{- define "models.volume" -}}
{{- $target := .root.Values.target -}}
apiVersion: v1
kind: PersistentVolume
metadata:
  {{- include "models.metadata" (dict "root" .root "name" (include "models.volumeName" .) "component" "volume" "cluster" true) | nindent 2 }}
spec:
  capacity:
    storage: {{ .size | toJson }}
  accessModes:
    - {{ ternary "ReadWriteMany" "ReadOnlyMany" .writes }}
  persistentVolumeReclaimPolicy: Retain
  storageClassName: ""
  volumeMode: Filesystem
  mountOptions:
    {{- include (printf "models.options.%s" $target.kind) . | trim | nindent 4 }}
  {{- with .root.Values.namespace }}
  claimRef:
    namespace: {{ . | toJson }}
    name: {{ $.claim | toJson }}
  {{- end }}
  {{- include (printf "models.source.%s" $target.kind) . | nindent 2 }}
{{- end }}

{{- define "models.options.nfs" -}}
{{- $target := .root.Values.target -}}
- nfsvers={{ $target.version | default "4.1" }}
- hard
{{- with $target.nconnect | default 4 | int }}{{ if gt . 1 }}
- nconnect={{ . }}
{{- end }}{{ end }}
{{- include "models.options.more" . }}
{{- end }}

{{- define "models.options.more" -}}
{{- range .root.Values.target.options }}
- {{ . | toJson }}
{{- end }}
{{- if not .writes }}
- ro
{{- end }}
{{- end }}

{{- define "models.source.nfs" -}}
{{- $target := .root.Values.target -}}
nfs:
  server: {{ $target.server | toJson }}
  path: {{ $target.path | toJson }}
  {{- if not .writes }}
  readOnly: true
  {{- end }}
{{- end }}

{{- define "models.options.azure-files" -}}
{{- $values := .root.Values -}}
{{- if $values.openshift }}
- uid=0
- gid=0
- dir_mode=0775
- file_mode=0664
{{- else }}
- uid={{ $values.user | int64 }}
- gid={{ $values.group | int64 }}
- dir_mode=0755
- file_mode=0644
{{- end }}
- mfsymlinks
- nobrl
- cache=strict
- actimeo=30
- nosharesock
{{- include "models.options.more" . }}
{{- end }}

{{- define "models.source.azure-files" -}}
{{- $target := .root.Values.target -}}
csi:
  driver: file.csi.azure.com
  volumeHandle: {{ printf "%s_%s_%s" $target.account $target.share (include "models.volumeName" .) | toJson }}
  volumeAttributes:
    storageAccount: {{ $target.account | toJson }}
    shareName: {{ $target.share | toJson }}
    {{- range $key, $name := dict "resourceGroup" "resource_group" "folderName" "folder" "server" "server" }}
    {{- with get $target $name }}
    {{ $key }}: {{ . | toJson }}
    {{- end }}
    {{- end }}
  nodeStageSecretRef:
    name: {{ $target.secret | default "azure-storage-secret" | toJson }}
    namespace: {{ $target.secret_namespace | default .root.Values.namespace | default "default" | toJson }}
{{- end }}

{{/* minio://HOST:PORT/BUCKET/PREFIX and s3://BUCKET/PREFIX, as [server, bucket, prefix] in JSON */}}
{{- define "models.bucket" -}}
{{- $rest := .address | trimPrefix "s3://" | trimPrefix "minio://" | trimSuffix "/" -}}
{{- $parts := splitList "/" $rest -}}
{{- if hasPrefix "s3://" .address }}{{ $parts = prepend $parts "" }}{{ end -}}
{{- $prefix := slice $parts 2 | join "/" -}}
{{ list (first $parts) (index $parts 1) (ternary (printf "%s/" $prefix) "" (ne $prefix "")) | toJson }}
{{- end }}

{{- define "models.options.s3" -}}
{{- $values := .root.Values -}}
{{- $target := $values.target -}}
{{- $bucket := include "models.bucket" $target | fromJsonArray -}}
{{- $url := $target.endpoint | default (ternary (printf "https://%s" (first $bucket)) "" (ne (first $bucket) "")) -}}
- read-only
- allow-other
{{- if not $values.openshift }}
- uid {{ $values.user | int64 }}
- gid {{ $values.group | int64 }}
{{- end }}
{{- with index $bucket 2 }}
- {{ printf "prefix %s" . | toJson }}
{{- end }}
{{- with $url }}
- {{ printf "endpoint-url %s" . | toJson }}
{{- end }}
{{- with $target.region | default (ternary "us-east-1" "" (ne $url "")) }}
- region {{ . }}
{{- end }}
{{- if ternary $target.path_style (ne $url "") (kindIs "bool" $target.path_style) }}
- force-path-style
{{- end }}
{{- end }}

{{- define "models.source.s3" -}}
{{- $target := .root.Values.target -}}
{{- $bucket := include "models.bucket" $target | fromJsonArray -}}
csi:
  driver: s3.csi.aws.com
  volumeHandle: {{ printf "%s_%s" (index $bucket 1) (include "models.volumeName" .) | toJson }}
  volumeAttributes:
    bucketName: {{ index $bucket 1 | toJson }}
    authenticationSource: {{ $target.authentication | default "driver" }}
{{- end }}
