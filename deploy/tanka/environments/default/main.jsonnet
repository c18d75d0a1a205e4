// An environment: the image from a registry of one's own, two pools, and somewhere for the data to go.
//
//   tk apply environments/default
//   jsonnet -J lib environments/default/main.jsonnet      without Tanka: one document with all objects
local obi = import 'obi/main.libsonnet';

obi {
  _config+:: {
    image: 'registry.example/obi:0.1.0',
    pools: ['busy', 'small'],
    env: { OBI_OTLP__ENDPOINT: 'http://otel-collector.monitoring:4318' },
  },
}
