"""An example of each verb, for its --help."""

PREPARE = """examples:
  electra-jax prepare movie-reviews --output store --train-vocab 2000
  electra-jax prepare wiki/ books.jsonl --output store --tokenizer vocab.txt \\
      --length 512 --packing full --deduplicate
  electra-jax prepare tfds:wikipedia/20230601.en:1.0.0 --output store \\
      --tokenizer spiece.model
Past one machine, --beam.NAME=VALUE gives any option of an Apache Beam pipeline;
what all workers read and write must lie where they see it:
  electra-jax prepare gs://BUCKET/text --output gs://BUCKET/store \\
      --tokenizer vocab.txt --beam.runner=DataflowRunner --beam.project=PROJECT \\
      --beam.region=us-central1 --beam.temp_location=gs://BUCKET/tmp \\
      --beam.setup_file=./setup.py
  electra-jax prepare wiki/ --output store --tokenizer vocab.txt \\
      --beam.runner=DirectRunner
"""
PRETRAIN = """examples:
  electra-jax pretrain --config pretrain:small --workdir run \\
      --config.data.store=store --config.train.batch_size=256
  electra-jax pretrain --config pretrain:base,runlocal --workdir run
The same command again resumes, and so does
  electra-jax pretrain --workdir run
On a TPU pod add --distributed on every host.
"""
FINETUNE = """examples:
  electra-jax finetune --config finetune:task=rte,size=base \\
      --config.init_from=run --config.data.folder=glue --config.seeds=10 \\
      --workdir rte
  electra-jax finetune --config finetune:task=table,size=small \\
      --config.init_from=run --config.data.folder=reviews \\
      --config.table.text=review --config.table.label=stars --workdir stars
  electra-jax finetune --config finetune:task=table,size=small \\
      --config.init_from=run --config.table.train=reviews.csv \\
      --config.table.dev_percent=10 --config.data.windows=mean --workdir stars
  electra-jax finetune --config finetune:task=summarise,size=small \\
      --config.init_from=run --config.data.folder=pairs --workdir synopses
  electra-jax finetune --config finetune:squad,runlocal --workdir try
The same command again resumes, and skips seeds that are finished; so does
  electra-jax finetune --workdir rte
"""
DISTILL = """examples:
  electra-jax distill --config distill:small --workdir student \\
      --config.distill.teacher=base --config.data.store=store
  electra-jax distill --config distill:tiny_en --workdir student \\
      --config.distill.teacher=tiny-en --config.data.store=store
  electra-jax distill --config distill:small,task=rte --workdir small_rte \\
      --config.distill.teacher=base_rte --config.init_from=student \\
      --config.data.folder=glue --config.distill.unlabelled=pairs.tsv
The same command again resumes, and so does
  electra-jax distill --workdir student
"""
PRUNE = """examples:
  electra-jax prune run smaller --remove-columns 0.5
  electra-jax prune tiny-en smaller --remove-heads 1 --remove-columns 0.25 \\
      --texts texts.txt
  electra-jax prune rte rte_smaller --remove-heads 0.25 --remove-layers 0,2
What counts least on held-out rows, or on a task's dev texts, goes; as much of
each layer. Fine-tune afterwards, as from any other run:
  electra-jax finetune --config finetune:task=rte,size=base,from_init \\
      --config.init_from=smaller --config.data.folder=glue --workdir rte
"""
EVALUATE = """examples:
  electra-jax evaluate --workdir run --split validation
  electra-jax evaluate --workdir rte --split train --seed 3
"""
PREDICT = """examples:
  electra-jax predict --workdir run "the film was a complete banana"
  electra-jax predict --workdir run "the film was [MASK] good"
  electra-jax predict --workdir run --held-out 5
  electra-jax predict --workdir sst "a joy from start to end"
  electra-jax predict --workdir squad --question "Who wrote it?" "It was …"
  electra-jax predict --workdir rte --file pairs.tsv --json > answers.jsonl
  electra-jax predict --workdir sst --file texts.txt --output answers.jsonl
  electra-jax predict --workdir latent "a cat" "a dog" --interpolate 5
A pair of texts has a tab between them; a line that is a JSON object gives the
fields by name ("text", "other_text"; "words"; "question", "context"). Answers
come in the order of the lines; "index" is the number of the line, from 0, and a
blank line keeps its number and has no answer. What a long text loses, or in how
many windows it is read, is said beside its answer. With --output memory does not
grow with the number of lines, and the same command goes on where it was killed.
"""
EMBED = """examples:
  electra-jax embed run --input texts.txt --output vectors.npy
  electra-jax embed tiny-en --input books.csv --field title --layer -2 \\
      --output titles.parquet
  electra-jax embed pairs --input texts.txt --dimensions 32 --output short.npy
Row i of the vectors is that of text i; a blank line has zeros. Vectors have
length 1, so that a product of two is their cosine. What tells texts apart best
is seldom the last layer of a run that was not trained to embed.
"""
EXPORT = """examples:
  electra-jax export run phone --to litert --int8 --lengths 32,128
  electra-jax export sst server --to onnx --int8
  electra-jax export run other --to stablehlo --network generator
  electra-jax export run page --to web --int8
  electra-jax export summaries writer --to onnx    # an encoder, and a step
OUTPUT appears once its answers have been compared with the run's own; float32
files whose logits differ by more than 0.0001 are refused.
"""
CONVERT = """examples:
  electra-jax convert electra_small run --to workdir
  electra-jax convert google/model.ckpt-200 run --to workdir \\
      --config pretrain:base --tokenizer vocab.txt
  electra-jax convert run exported --to huggingface
  electra-jax convert bert-base-uncased run --to workdir --seed 1
  electra-jax convert bert2bert summaries --to workdir \\
      --config finetune:task=summarise
SOURCE is a workdir, a TensorFlow checkpoint of the released code (a folder or a
prefix), or a folder of Hugging Face's: ELECTRA's, BERT's, or one that holds
`discriminator` and `generator`.
"""
PLAN = """examples:
  electra-jax plan --config pretrain:base --topology v5e:16x16
  electra-jax plan --config pretrain:large --topology v5p:4x4x4 \\
      --price 4.2 --json large.json
  electra-jax plan --config pretrain:small --topology h100:8 \\
      --config.train.batch_size=4096
  electra-jax plan --config pretrain:small --topology here
"""
BENCHMARK = """examples:
  electra-jax benchmark --config pretrain:small
  electra-jax benchmark --config pretrain:base \\
      --config.train.batch_size=512 --store store --json base.json \\
      --profile trace
  electra-jax benchmark --config pretrain:tiny --steps 10 \\
      --peak-tflops 0.2
Made-up rows of the config's length are fed unless there is a --store. On a TPU
pod add --distributed on every host; the first one prints.
"""
REPORT = """examples:
  electra-jax report run
  electra-jax report run run_of_another_rate --output rates.html
  electra-jax report rte
  electra-jax report runs/loss_weight --output sweep.html
pretrain, finetune and launch/sweep.py write report.html into their folder when
they end; while they run, this verb does, and does not disturb them.
"""
CONFIG = """examples:
  electra-jax config pretrain:small > mine.py     # then --config mine.py:small
  electra-jax config pretrain:small --values
"""
DEMO = """examples:
  electra-jax demo run
  electra-jax demo run rte stars --port 8080
  electra-jax demo run --host 0.0.0.0     # prints a URL with a random token
The page is at the URL that is printed; the same answers as JSON:
  curl http://127.0.0.1:8000/predict -H 'content-type: application/json' \\
      -d '{"text": "the chef cooked the banana"}'
GET /models tells what there is to ask, GET /metrics how it goes (Prometheus).
Ctrl-C or SIGTERM ends it, when what is being answered is answered.
"""
DOCTOR = """examples:
  electra-jax doctor > doctor.txt
It tells versions, devices, memory, caches and which packages are missing, in
lines to paste into a report of a fault. No secret is in them.
"""
COMPLETION = """examples:
  eval "$(electra-jax completion bash)"    # a line for ~/.bashrc
  electra-jax completion zsh > "${fpath[1]}/_electra-jax"
  electra-jax completion fish > ~/.config/fish/completions/electra-jax.fish
"""
