"""What Mistral's newer families share: queries that grow past a length, pictures that are left out."""

from sixgig.families.terms.config import Config

PICTURES = (r"^(model\.)?(vision_tower|multi_modal_projector)\.",)
PICTURES_IDLE = ("spatial_merge_size", "multimodal_projector_bias")
ROPE_IDLE = r"rope\.max_position_embeddings"


def growth(config: Config) -> tuple[float, int]:
    """How much queries grow (Llama 4's way), and with each how many positions."""
    rope = config.rope
    return rope.number("llama_4_scaling_beta"), rope.integer("original_max_position_embeddings")
