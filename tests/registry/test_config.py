import pytest

from qcheck.errors import ConfigurationError
from qcheck.registry.config import ProviderSettings, UserConfig, load_env_file, load_user_config, read_key, table_of
from qcheck.registry.rows import PriceRow
from qcheck.registry.types import Dialect, Endpoint


def endpoint(key_env):
    return Endpoint("p", "https://p.example", "https://p.example", "m", key_env)


def test_no_file_is_an_empty_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_user_config().providers == {}


def test_the_file_of_the_working_folder_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qcheck.toml").write_text(
        '[providers.mine]\nkey_env = "MINE_KEY"\n'
        '[providers.mine.models."kimi-k2.6"]\nprice = { input = 1, output = 2.5 }\n'
    )
    mine = load_user_config().settings("mine", "kimi-k2.6")
    assert mine.key_env == "MINE_KEY"
    assert mine.price == PriceRow(input=1, output=2.5)


def test_a_file_that_was_named_must_exist(tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError, match="cannot read"):
        load_user_config(tmp_path / "none.toml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qcheck.toml").symlink_to("gone.toml")
    with pytest.raises(ConfigurationError, match=r"cannot read qcheck\.toml"):
        load_user_config()


@pytest.mark.parametrize(
    "text",
    [
        '[providers.mine]\nkey = "sk-canary"\n',
        '[providers.mine]\nkey_env = "sk-canary"\n',
        '[providers.mine]\nlogprobs = "sk-canary"\n',
        '[providers."M INE"]\nmodel_id = "sk-canary"\n',
        '[provider.mine]\nmodel_id = "sk-canary"\n',
        '[providers.mine]\nkey_env = "sk-canary',
    ],
)
def test_mistakes_name_the_file_and_never_the_value(tmp_path, text):
    path = tmp_path / "qcheck.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"qcheck\.toml") as caught:
        load_user_config(path)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            'model_id = "org/M"',
            r"'providers.mine' says model_id of no model in particular: put it into a table `models\.",
        ),
        ("price = { input = 0, output = 0 }", "says price of no model"),
        ("models.kimi-k26 = {}", r"names an unknown model 'kimi-k26': did you mean kimi-k2"),
        ('models.kimi-k2.6 = { model_id = "m" }', r'stands in quotes, as in models\."kimi-k2\.6"\.'),
        (
            'models."kimi-k2.6" = { key_env = "K" }',
            "unknown field 'key_env': known: declared, model_id, price, prompt_format, thinking",
        ),
        ("models = " + 10_000 * "[", "nested too deeply"),
        ("models = " + 10_000 * "[" + 10_000 * "]", "nested too deeply"),
        ("models = " + 10_000 * "{a=" + "1" + 10_000 * "}", "nested too deeply"),
        ("models." + 3_000 * "a." + "a = 1", "names an unknown model 'a'"),
        ('models."kimi-k2.6".price = [1, 2]', r"price' must be a table\."),
    ],
)
def test_what_holds_for_one_model_stands_under_it(tmp_path, text, complaint):
    path = tmp_path / "qcheck.toml"
    path.write_text(f"[providers.mine]\n{text}\n")
    with pytest.raises(ConfigurationError, match=complaint):
        load_user_config(path)


@pytest.mark.parametrize(
    "declared",
    ["", " ", "fp8\\u200b", "fp\\u202e8", "fp8\\n", "fp\\u00ad8", "fp8\\u3164", "fp8\\ufe0f", "\\u2800", 301 * "x"],
)
def test_a_declared_precision_reads_as_it_is(tmp_path, declared):
    path = tmp_path / "qcheck.toml"
    path.write_text(f'[providers.mine.models."kimi-k2.6"]\ndeclared = "{declared}"\n')
    with pytest.raises(ConfigurationError) as caught:
        load_user_config(path)
    assert str(caught.value).endswith(
        "'providers.mine.models.kimi-k2.6.declared' must be a line of at most 300 characters, none of them invisible."
    )


def test_a_declared_precision_may_be_in_any_script(tmp_path):
    path = tmp_path / "qcheck.toml"
    path.write_text('[providers.mine.models."kimi-k2.6"]\ndeclared = "fp8 – 8 位浮点数, Größe ½"\n')
    assert load_user_config(path).settings("mine", "kimi-k2.6").declared == "fp8 – 8 位浮点数, Größe ½"


def test_more_specific_tables_go_over_others_field_by_field():
    tables = {
        "openrouter": {
            "key_env": "A",
            "min_tokens": 2,
            "thinking_off": "reasoning",
            "models": {"kimi-k2.6": {"model_id": "k", "thinking_off": "none"}},
        },
        "openrouter/novita": {"min_tokens": 3, "models": {"kimi-k2.6": {"declared": "int4"}}},
        "openrouter/novita/fp8": {"models": {"kimi-k2.6": {"declared": "fp8"}}},
        "openrouter/nov": {"min_tokens": 9},
    }
    config = UserConfig.model_validate({"providers": tables})

    def said(spec, model="kimi-k2.6"):
        s = config.settings(spec, model)
        return s.key_env, s.min_tokens, s.thinking_off, s.model_id, s.declared

    assert said("openrouter/parasail") == ("A", 2, "none", "k", None)
    assert said("openrouter/novita") == ("A", 3, "none", "k", "int4")
    assert said("openrouter/novita/fp8") == ("A", 3, "none", "k", "fp8")
    assert said("openrouter/novita", "glm-4.6") == ("A", 3, "reasoning", None, None)
    assert said("novita") == (None, None, None, None, None)


def test_a_table_is_named_as_toml_wants_it():
    assert table_of("openrouter/novita", "kimi-k2.6") == '[providers."openrouter/novita".models."kimi-k2.6"]'
    assert table_of("mine", "lab-tiny") == "[providers.mine.models.lab-tiny]"


def test_key_comes_from_its_variable():
    assert read_key(endpoint("P_KEY"), {"P_KEY": " sk-1 \n"}) == "sk-1"
    assert read_key(endpoint(None), {"P_KEY": "sk-1"}) is None


def test_tables_that_may_be_misspelt():
    tables = dict.fromkeys(("openruter/novita", "openruter", "novita", "mine"), ProviderSettings())
    assert list(UserConfig(providers=tables).misspelt(["openrouter", "novita"])) == [("openruter", "openrouter")]


@pytest.mark.parametrize("environ", [{}, {"P_KEY": ""}, {"P_KEY": "  "}])
def test_a_missing_key_is_named(environ):
    with pytest.raises(ConfigurationError, match="p needs a key: set the environment variable P_KEY"):
        read_key(endpoint("P_KEY"), environ)


@pytest.mark.parametrize("value", ["canary\r\nX-Evil: 1", "can\u00e4ry canary", "canary\x00"])
def test_a_key_that_would_break_the_header_is_refused(value):
    with pytest.raises(ConfigurationError, match="P_KEY") as caught:
        read_key(endpoint("P_KEY"), {"P_KEY": value})
    assert "canary" not in str(caught.value)


def test_env_file_forms(tmp_path):
    path = tmp_path / "keys.env"
    path.write_text(
        "\ufeff# keys\n\nA=1\nexport B = two \nC='three # 3' # comment\nD=\"fo'ur\"\nE=fi#ve # comment\nF=\nG==x=\n"
        "H= # nothing\n",
        encoding="utf-8",
    )
    assert load_env_file(path) == {
        "A": "1",
        "B": "two",
        "C": "three # 3",
        "D": "fo'ur",
        "E": "fi#ve",
        "F": "",
        "G": "=x=",
        "H": "",
    }


@pytest.mark.parametrize("line", ["canary", "=canary", "1A=canary", "A='canary", "A='x' canary", "a-b=canary"])
def test_env_file_mistakes_give_the_line_and_never_its_text(tmp_path, line):
    path = tmp_path / "keys.env"
    path.write_text(f"GOOD=1\n{line}\n")
    with pytest.raises(ConfigurationError, match="line 2") as caught:
        load_env_file(path)
    assert "canary" not in str(caught.value)


def test_env_file_names_stand_once(tmp_path):
    path = tmp_path / "keys.env"
    path.write_text("A=1\nA=2\n")
    with pytest.raises(ConfigurationError, match="line 2: A stands twice"):
        load_env_file(path)


def test_env_file_must_be_text(tmp_path):
    path = tmp_path / "keys.env"
    path.write_bytes(b"A=\xff")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        load_env_file(path)


def test_how_a_scorer_writes_prompts_and_whether_samples_are_plain(tmp_path):
    form = 'user = "<u>{content}", system = "<s>{content}", assistant = "<a>{content}", answer = "<a>", no_thought = ""'
    path = tmp_path / "qcheck.toml"
    path.write_text(
        f'[providers.mine]\nplain_samples = "vllm"\n[providers.mine.models."kimi-k2.6"]\nprompt_format = {{ {form} }}\n'
    )
    settings = load_user_config(path).settings("mine", "kimi-k2.6")
    assert settings.prompt_format.prompt_format().turn("user") == "<u>{content}"
    assert settings.dialect(Dialect()).plain_samples == "vllm"
    assert "plain_samples" in settings.dialect(Dialect()).stated
    path.write_text("[providers.mine]\nplain_samples = true\n")
    with pytest.raises(ConfigurationError, match=r"'openai', 'vllm' or 'llama\.cpp'"):
        load_user_config(path)
