from electra_jax.api import (
    benchmark as benchmark,
)
from electra_jax.api import (
    convert as convert,
)
from electra_jax.api import (
    distill as distill,
)
from electra_jax.api import (
    evaluate as evaluate,
)
from electra_jax.api import (
    export as export,
)
from electra_jax.api import (
    finetune as finetune,
)
from electra_jax.api import (
    open_run as open_run,
)
from electra_jax.api import (
    plan as plan,
)
from electra_jax.api import (
    prepare as prepare,
)
from electra_jax.api import (
    pretrain as pretrain,
)
from electra_jax.bulk.predicting import predict as predict
from electra_jax.config_files import load_config as load_config
from electra_jax.embedding.embed import embed as embed
from electra_jax.errors import UserError as UserError
from electra_jax.finetuning.model import FinetunedModel as FinetunedModel
from electra_jax.models.config import (
    ElectraConfig as ElectraConfig,
)
from electra_jax.models.config import (
    EncoderConfig as EncoderConfig,
)
from electra_jax.models.electra import Electra as Electra
from electra_jax.pretraining.model import PretrainedModel as PretrainedModel
from electra_jax.reporting.page import report as report
from electra_jax.runs.doctor import doctor as doctor
from electra_jax.serve.server import demo as demo
from electra_jax.text.tokenizer import Tokenizer as Tokenizer

__version__: str
